package chart

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
)

// UserValues are those of merged, the values that a release was rendered with, that the chart does not have by itself: what a
// user would have to write into a values file. The chart must be freshly loaded, and is changed.
func UserValues(ch *helmchart.Chart, merged map[string]any) (map[string]any, error) {
	// The values decide which subcharts bring their own.
	if err := chartutil.ProcessDependenciesWithMerge(ch, merged); err != nil {
		return nil, fmt.Errorf("chart %s: switch its dependencies on and off: %w", ch.Name(), err)
	}
	defaults, err := chartutil.CoalesceValues(ch, map[string]any{})
	if err != nil {
		return nil, fmt.Errorf("chart %s: read its values: %w", ch.Name(), err)
	}
	// Helm reads numbers as another type than what was saved is read as.
	var plain, standard map[string]any
	if err := errors.Join(normalize(merged, &plain), normalize(defaults, &standard)); err != nil {
		return nil, fmt.Errorf("chart %s: compare its values: %w", ch.Name(), err)
	}
	own := difference(plain, standard)
	for _, dependency := range ch.Dependencies() {
		// Each subchart has a copy of what charts share.
		section, ok := own[dependency.Name()].(map[string]any)
		if !ok {
			continue
		}
		if delete(section, chartutil.GlobalKey); len(section) == 0 {
			delete(own, dependency.Name())
		}
	}
	return own, nil
}

// normalize gives each value the type that JSON has for it.
func normalize(from map[string]any, to *map[string]any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, to)
}

// difference are the values of merged that differ from defaults. One that is missing there was set to null.
func difference(merged, defaults map[string]any) map[string]any {
	own := map[string]any{}
	for key, value := range merged {
		standard := defaults[key]
		group, isGroup := value.(map[string]any)
		standardGroup, wasGroup := standard.(map[string]any)
		switch {
		case isGroup && wasGroup:
			if inner := difference(group, standardGroup); len(inner) > 0 {
				own[key] = inner
			}
		case !reflect.DeepEqual(value, standard):
			own[key] = value
		}
	}
	for key, standard := range defaults {
		if _, has := merged[key]; !has && standard != nil {
			own[key] = nil
		}
	}
	return own
}
