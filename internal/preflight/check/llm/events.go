package llm

import (
	"encoding/json"
	"errors"
	"fmt"
)

// typed is what events of Anthropic Messages and OpenAI Responses have in common.
type typed struct {
	Type  string `json:"type"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
	Message any `json:"message"`
}

func readTyped(data string) (typed, error) {
	var event typed
	if err := json.Unmarshal([]byte(data), &event); err != nil {
		return event, fmt.Errorf("an event is no JSON: %w", err)
	}
	if event.Type == "" {
		return event, errors.New("an event has no type")
	}
	if event.Type == "error" {
		message := fmt.Sprint(event.Message)
		if event.Error != nil {
			message = event.Error.Message
		}
		return event, fmt.Errorf("it breaks off with an error: %s", message)
	}
	return event, nil
}

func readAnthropic(data string) (meaning, error) {
	event, err := readTyped(data)
	if err != nil {
		return other, err
	}
	switch event.Type {
	case "content_block_delta":
		return text, nil
	case "message_stop":
		return end, nil
	case "message_start", "content_block_start", "content_block_stop", "message_delta", "ping":
		return other, nil
	}
	return other, fmt.Errorf("the event %q is unknown", event.Type)
}

func readResponses(data string) (meaning, error) {
	event, err := readTyped(data)
	if err != nil {
		return other, err
	}
	switch event.Type {
	case "response.output_text.delta", "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		return text, nil
	case "response.completed", "response.incomplete":
		// An answer that the limit on its length cut off is one.
		return end, nil
	case "response.failed":
		return other, errors.New("it breaks off: the response failed")
	}
	if len(event.Type) < 9 || event.Type[:9] != "response." {
		return other, fmt.Errorf("the event %q is unknown", event.Type)
	}
	return other, nil
}

func readChat(data string) (meaning, error) {
	if data == "[DONE]" {
		return end, nil
	}
	var chunk struct {
		Object  string `json:"object"`
		Choices *[]struct {
			Delta struct {
				Content   string `json:"content"`
				Reasoning string `json:"reasoning_content"`
			} `json:"delta"`
		} `json:"choices"`
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(data), &chunk); err != nil {
		return other, fmt.Errorf("a chunk is no JSON: %w", err)
	}
	switch {
	case chunk.Error != nil:
		return other, fmt.Errorf("it breaks off with an error: %s", chunk.Error.Message)
	case chunk.Choices == nil:
		return other, errors.New("a chunk has no choices")
	}
	for _, choice := range *chunk.Choices {
		if choice.Delta.Content != "" || choice.Delta.Reasoning != "" {
			return text, nil
		}
	}
	return other, nil
}
