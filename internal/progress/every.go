package progress

import "time"

// Every is how often work that takes long says how far it is.
const Every = 5 * time.Second

// Report has say say how far some work is, now and then, until the function that it returns is called. That waits for a
// report which is being made. elapsed is in whole seconds.
func Report(say func(elapsed string)) (stop func()) {
	began, done, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(Every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				say(time.Since(began).Round(time.Second).String())
			}
		}
	}()
	return func() { close(done); <-ended }
}
