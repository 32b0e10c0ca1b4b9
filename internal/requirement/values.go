package requirement

import "fmt"

// values are the chart's, which have no Go types.
type values map[string]any

// at is what stands under a path, nil where there is nothing.
func (v values) at(path ...string) any {
	var here any = map[string]any(v)
	for _, key := range path {
		table, ok := here.(map[string]any)
		if !ok {
			return nil
		}
		here = table[key]
	}
	return here
}

func (v values) table(path ...string) values {
	table, _ := v.at(path...).(map[string]any)
	return table
}

func (v values) text(path ...string) string {
	switch value := v.at(path...).(type) {
	case nil:
		return ""
	case string:
		return value
	default:
		return fmt.Sprint(value)
	}
}

// number reads what YAML, JSON and --set each give another type.
func (v values) number(path ...string) int32 {
	switch value := v.at(path...).(type) {
	case int:
		return int32(value)
	case int64:
		return int32(value)
	case float64:
		return int32(value)
	}
	return 0
}
