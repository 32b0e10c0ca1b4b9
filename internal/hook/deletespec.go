package hook

import "errors"

// DeleteSpec says what an uninstall that deletes the data removes, once the objects of the release are gone.
type DeleteSpec struct {
	Namespace string `json:"namespace"`
	Release   string `json:"release"`
	// Revision of the release for which deleting was asked. Any other keeps its data.
	Revision int `json:"revision"`
	// Cluster is the database; its claims, Secrets and Services belong to it and go with it.
	Cluster string `json:"cluster,omitempty"`
	// Secrets are those that nap-hooks makes. One that it did not make stays.
	Secrets    []string         `json:"secrets,omitempty"`
	ConfigMaps []string         `json:"configMaps,omitempty"`
	Claims     []NamespacedName `json:"claims,omitempty"`
	Jobs       []string         `json:"jobs,omitempty"`
	// Leases are those of the operator that the release brought.
	Leases []string `json:"leases,omitempty"`
	// GivenSecrets and GivenClaims are the user's own. They stay.
	GivenSecrets []string         `json:"givenSecrets,omitempty"`
	GivenClaims  []NamespacedName `json:"givenClaims,omitempty"`

	Workspaces DeleteWorkspaces `json:"workspaces"`
	// CRDGroup is the API group of the CustomResourceDefinitions that the release leaves.
	CRDGroup string `json:"crdGroup,omitempty"`
}

// DeleteWorkspaces is the namespace of the workspaces.
type DeleteWorkspaces struct {
	Namespace string `json:"namespace"`
	// Created: the chart makes the namespace, so it is deleted if it is really this release's.
	Created bool `json:"created"`
}

// NamespacedName is the name of an object in a namespace.
type NamespacedName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Validate reports what the spec lacks.
func (s DeleteSpec) Validate() error {
	switch {
	case s.Namespace == "":
		return errors.New("namespace is empty")
	case s.Release == "":
		return errors.New("release is empty")
	}
	return nil
}
