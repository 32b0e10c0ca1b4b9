package kubetest

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// owners are the managers of each field of an object, by its path. A list is one field.
type owners map[string]map[string]bool

// managerOf names who sends a request, and whether it is an apply: the same program is another manager then.
func managerOf(r *http.Request) string {
	manager := r.URL.Query().Get("fieldManager")
	if manager == "" {
		manager, _, _ = strings.Cut(r.UserAgent(), "/")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch") {
		return manager + " apply"
	}
	return manager
}

func (o owners) clone() owners {
	clone := owners{}
	for field, managers := range o {
		clone[field] = maps.Clone(managers)
	}
	return clone
}

// separator stands between the keys of a path. Labels have dots and slashes.
const separator = "\x00"

// leaves are the fields of an object that can be owned, by their paths.
func leaves(object map[string]any) map[string]any {
	found := map[string]any{}
	var walk func(at map[string]any, above string)
	walk = func(at map[string]any, above string) {
		for key, value := range at {
			field := above + separator + key
			if nested, is := value.(map[string]any); is && len(nested) > 0 {
				walk(nested, field)
				continue
			}
			found[field] = value
		}
	}
	for key, value := range object {
		switch nested, is := value.(map[string]any); {
		case key == "metadata" && is:
			for _, part := range []string{"labels", "annotations"} {
				if of, is := nested[part].(map[string]any); is {
					walk(of, key+separator+part)
				}
			}
		case key == "status" || key == "apiVersion" || key == "kind":
		case is:
			walk(nested, key)
		default:
			found[key] = value
		}
	}
	return found
}

// conflicts are the managers of fields that another one applies otherwise.
type conflicts map[string]string

// take gives a manager the fields that it applies. Those that others have set otherwise are conflicts, or are taken
// from them by force.
func (o owners) take(manager string, live, body map[string]any, force bool) conflicts {
	found, before := conflicts{}, leaves(live)
	for field, value := range leaves(body) {
		was, there := before[field]
		if there && !reflect.DeepEqual(was, value) {
			for other := range o[field] {
				if other != manager {
					found[field] = other
				}
			}
			if force {
				o[field] = nil
			}
		}
		if o[field] == nil {
			o[field] = map[string]bool{}
		}
		o[field][manager] = true
	}
	if force || len(found) == 0 {
		return nil
	}
	return found
}

// release takes from a manager the fields that it no longer applies, and returns those that nobody has any more.
func (o owners) release(manager string, body map[string]any) [][]string {
	applied := leaves(body)
	var gone [][]string
	for field, managers := range o {
		if _, still := applied[field]; still || !managers[manager] {
			continue
		}
		delete(managers, manager)
		if len(managers) == 0 {
			delete(o, field)
			gone = append(gone, strings.Split(field, separator))
		}
	}
	return gone
}

// change gives a manager the fields that it changes by other means than an apply.
func (o owners) change(manager string, live, object map[string]any) {
	if strings.HasSuffix(manager, " apply") {
		return
	}
	before, after := leaves(live), leaves(object)
	for field, value := range after {
		if was, there := before[field]; !there || !reflect.DeepEqual(was, value) {
			o[field] = map[string]bool{manager: true}
		}
	}
	for field := range o {
		if _, there := after[field]; !there {
			delete(o, field)
		}
	}
}

// status is the API server's answer about an object of an API version. It tells managers that applied from those that
// changed fields otherwise.
func (c conflicts) status(apiVersion string) *apierrors.StatusError {
	var causes []metav1.StatusCause
	fields := map[string][]string{}
	for _, field := range slices.Sorted(maps.Keys(c)) {
		name, applied := strings.CutSuffix(c[field], " apply")
		manager := strconv.Quote(name)
		if !applied {
			manager += " using " + apiVersion
		}
		path := "." + strings.ReplaceAll(field, separator, ".")
		causes = append(causes, metav1.StatusCause{
			Type: metav1.CauseTypeFieldManagerConflict, Message: "conflict with " + manager, Field: path,
		})
		fields[manager] = append(fields[manager], path)
	}
	if len(causes) == 1 {
		return apierrors.NewApplyConflict(causes,
			fmt.Sprintf("Apply failed with 1 conflict: %s: %s", causes[0].Message, causes[0].Field))
	}
	var words []string
	for _, manager := range slices.Sorted(maps.Keys(fields)) {
		words = append(words, "conflicts with "+manager+":\n- "+strings.Join(fields[manager], "\n- "))
	}
	return apierrors.NewApplyConflict(causes,
		fmt.Sprintf("Apply failed with %d conflicts: %s", len(causes), strings.Join(words, "\n")))
}
