package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pieces are the definitions of what values hold of a pod as Kubernetes defines it. Their schemas are made from its Go
// types, so that a misspelt key or a wrong type is named with its path before anything is sent to the cluster.
var pieces = map[string]piece{
	"affinity":                  {"As in a pod.", reflect.TypeFor[corev1.Affinity]()},
	"extraEnv":                  {"Variables as in a container.", reflect.TypeFor[[]corev1.EnvVar]()},
	"extraVolumeMounts":         {"Mounts of the main container.", reflect.TypeFor[[]corev1.VolumeMount]()},
	"extraVolumes":              {"Volumes as in a pod.", reflect.TypeFor[[]corev1.Volume]()},
	"tolerations":               {"As in a pod.", reflect.TypeFor[[]corev1.Toleration]()},
	"topologySpreadConstraints": {"As in a pod.", reflect.TypeFor[[]corev1.TopologySpreadConstraint]()},
}

type piece struct {
	description string
	goType      reflect.Type
}

// object is a part of a JSON schema.
type object = map[string]any

// choices are the values of types that have a few. Empty stands for the default.
var choices = map[reflect.Type][]string{
	reflect.TypeFor[corev1.TolerationOperator]():            {"", "Exists", "Equal", "Lt", "Gt"},
	reflect.TypeFor[corev1.TaintEffect]():                   {"", "NoSchedule", "PreferNoSchedule", "NoExecute"},
	reflect.TypeFor[corev1.UnsatisfiableConstraintAction](): {"DoNotSchedule", "ScheduleAnyway"},
	reflect.TypeFor[corev1.NodeInclusionPolicy]():           {"Honor", "Ignore"},
	reflect.TypeFor[corev1.NodeSelectorOperator]():          {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"},
	reflect.TypeFor[metav1.LabelSelectorOperator]():         {"In", "NotIn", "Exists", "DoesNotExist"},
	reflect.TypeFor[corev1.MountPropagationMode]():          {"None", "HostToContainer", "Bidirectional"},
	reflect.TypeFor[corev1.RecursiveReadOnlyMode]():         {"Disabled", "IfPossible", "Enabled"},
}

// addPieces adds the definitions of the pieces.
func addPieces(into map[string]json.RawMessage) error {
	for name, p := range pieces {
		schema, err := schemaOf(p.goType)
		if err != nil {
			return fmt.Errorf("definition %s: %w", name, err)
		}
		schema["description"] = p.description
		if into[name], err = json.Marshal(schema); err != nil {
			return err
		}
	}
	return nil
}

func schemaOf(t reflect.Type) (object, error) {
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return object{"type": []string{"string", "number"}}, nil
	case reflect.TypeFor[intstr.IntOrString]():
		return object{"type": []string{"string", "integer"}}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.String:
		if enum, few := choices[t]; few {
			return object{"type": "string", "enum": enum}, nil
		}
		return object{"type": "string"}, nil
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	case reflect.Int32, reflect.Int64:
		return object{"type": "integer"}, nil
	case reflect.Slice:
		items, err := schemaOf(t.Elem())
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		values, err := schemaOf(t.Elem())
		return object{"type": "object", "additionalProperties": values}, err
	case reflect.Struct:
		return structSchema(t)
	}
	return nil, fmt.Errorf("%s has no schema", t)
}

func structSchema(t reflect.Type) (object, error) {
	properties, required := object{}, []string{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		schema, err := fieldSchema(t, field)
		if err != nil {
			return nil, err
		}
		if name == "" {
			inner, _ := schema["properties"].(object)
			for key, value := range inner {
				properties[key] = value
			}
			needs, _ := schema["required"].([]string)
			required = append(required, needs...)
			continue
		}
		properties[name] = schema
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	schema := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema, nil
}

// fieldSchema leaves the sources of volumes, of which there are thirty, to the API server: prepare asks it before a
// migration. Their names are checked.
func fieldSchema(t reflect.Type, field reflect.StructField) (object, error) {
	if t == reflect.TypeFor[corev1.VolumeSource]() {
		return object{"type": "object"}, nil
	}
	return schemaOf(field.Type)
}
