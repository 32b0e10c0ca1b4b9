package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// ReadSpec decodes the YAML file at path into a T. A field that T does not have is an error: a
// chart and a binary that disagree must say so at once. A T with a method Validate is asked too.
func ReadSpec[T any](path string) (T, error) {
	var spec T
	if path == "" {
		return spec, Errorf(Usage, "--spec is missing: name the YAML file that says what to do")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return spec, Errorf(Usage, "read the spec: %w", err)
	}
	if err := yaml.UnmarshalStrict(raw, &spec); err != nil {
		return spec, Errorf(Usage, "spec %s does not fit this version of nap-hooks; use the image that belongs to the chart: %w", path, err)
	}
	if v, ok := any(spec).(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return spec, Errorf(Usage, "spec %s: %w", path, err)
		}
	}
	return spec, nil
}

// GuardSpec says what guard has to prove before anything is created.
type GuardSpec struct {
	Namespace      string              `json:"namespace"`
	StorageClasses []StorageClassCheck `json:"storageClasses,omitempty"`
	Claims         []ClaimCheck        `json:"claims,omitempty"`
	Nodes          []NodeCheck         `json:"nodes,omitempty"`
	NodePorts      []NodePortCheck     `json:"nodePorts,omitempty"`
	PodSecurity    []PodSecurityCheck  `json:"podSecurity,omitempty"`
	Kubernetes     KubernetesCheck     `json:"kubernetes,omitempty"`
}

// StorageClassCheck is a class that a PVC will ask for. An empty Name asks for the cluster's default.
type StorageClassCheck struct {
	Purpose    string `json:"purpose"`
	Value      string `json:"value"`
	Name       string `json:"name"`
	AccessMode string `json:"accessMode"`
	// PVC says what the class is for. Where all of it exists, an upgrade does without the class.
	PVC *PVCs `json:"pvc,omitempty"`
	// Chosen is where an earlier install has noted the class for PVCs that are created later, by name.
	Chosen *ChosenClass `json:"chosen,omitempty"`
}

// PVCs are one PVC, by its name, or several, by labels.
type PVCs struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name,omitempty"`
	Selector  string `json:"selector,omitempty"`
	// Count is how many there are to be; 0 stands for one.
	Count int `json:"count,omitempty"`
}

// ChosenClass is a key of the ConfigMap in which bootstrap notes the StorageClasses that it has chosen.
type ChosenClass struct {
	ConfigMap string `json:"configMap"`
	Key       string `json:"key"`
}

// ClaimCheck is a claim that the user made, or one that may be there from before and is to get a size.
type ClaimCheck struct {
	Namespace string `json:"namespace"`
	// Name is the claim's. Where it is made by others a Selector of labels finds it.
	Name     string `json:"name,omitempty"`
	Selector string `json:"selector,omitempty"`
	// Required marks a claim that must be there.
	Required bool   `json:"required,omitempty"`
	Size     string `json:"size,omitempty"`
	// Kept says that a claim which is larger may stay so: whoever applies it leaves it alone.
	Kept  bool   `json:"kept,omitempty"`
	Value string `json:"value"`
	// StorageClass, or Volume for a PersistentVolume, is the one that ClassValue asks for, if any.
	StorageClass string `json:"storageClass,omitempty"`
	Volume       string `json:"volume,omitempty"`
	ClassValue   string `json:"classValue,omitempty"`
}

// NodeCheck is a label that one node alone must have.
type NodeCheck struct {
	Selector string `json:"selector"`
	Value    string `json:"value"`
}

// NodePortCheck is a port that a Service of the release will take on every node.
type NodePortCheck struct {
	Service string `json:"service"`
	Port    int32  `json:"port"`
	Value   string `json:"value"`
	// Before are other Services of the release that may have it until then.
	Before []string `json:"before,omitempty"`
}

// PodSecurityCheck is the pod security level that a namespace must admit.
type PodSecurityCheck struct {
	Namespace string `json:"namespace"`
	Level     string `json:"level"`
	Value     string `json:"value"`
	// Account is the ServiceAccount of the pod that is tried, since those of the real pods do not exist yet. Empty stands
	// for "default", which workspaces run as.
	Account string `json:"account,omitempty"`
	// NoUser says that pods name no user, since OpenShift chooses it.
	NoUser bool `json:"noUser,omitempty"`
	// LabelsOnly says that no pod may be tried there, in a namespace that the release itself makes: its labels decide.
	LabelsOnly bool `json:"labelsOnly,omitempty"`
}

// KubernetesCheck names the oldest Kubernetes that all parts are tested on.
type KubernetesCheck struct {
	Tested string `json:"tested,omitempty"`
}

// SecretsSpec lists the Secrets of a release.
type SecretsSpec struct {
	Namespace string   `json:"namespace"`
	Secrets   []Secret `json:"secrets"`
}

// Secret is one Secret: made where it is missing, or, when Existing, only checked.
type Secret struct {
	Name   string            `json:"name"`
	Type   string            `json:"type,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Existing marks a Secret that a user gave. It is never written.
	Existing bool `json:"existing,omitempty"`
	// Value is the chart value that named an existing Secret.
	Value string               `json:"value,omitempty"`
	Data  map[string]SecretKey `json:"data,omitempty"`
	// Authority, instead of Data, has the Secret hold the certificate authority of this Cluster, as CloudNativePG would make it
	// later: pods that verify the database start before that. The operator takes one that is there, and renews it.
	Authority string `json:"authority,omitempty"`
}

// SecretKey says where the value of one key comes from.
type SecretKey struct {
	Value       string        `json:"value,omitempty"`
	Generate    *GenerateSpec `json:"generate,omitempty"`
	PostgresURL *PostgresURL  `json:"postgresURL,omitempty"`
	File        *SecretFile   `json:"file,omitempty"`
	// Required is set on the keys that an existing Secret must hold.
	Required  bool `json:"required,omitempty"`
	MinLength int  `json:"minLength,omitempty"`
	// Lines admits a value that ends with a line break: certificates do, and an address is trimmed.
	Lines bool `json:"lines,omitempty"`
	// NewMinLength holds instead of MinLength where the platform is not installed yet.
	NewMinLength int `json:"newMinLength,omitempty"`
	// Public marks a value that is no secret, such as a user's name or a certificate.
	Public bool `json:"public,omitempty"`
}

// Derived says whether the value follows from others. It is made anew by every run.
func (k SecretKey) Derived() bool { return k.PostgresURL != nil || k.File != nil }

// SecretFile derives a configuration file that holds secrets, for a program that reads them from nowhere else.
type SecretFile struct {
	// Text is the file. "$(NAME)" in it stands for the value called NAME.
	Text string `json:"text"`
	// Values are what stands in other Secrets, by name.
	Values map[string]SecretRef `json:"values"`
}

// GenerateSpec asks for random bytes, written as hexadecimal digits.
type GenerateSpec struct {
	Bytes int `json:"bytes"`
}

// PostgresURL derives a connection URL from parts, some of which stand in other Secrets.
type PostgresURL struct {
	Host     string `json:"host,omitempty"`
	Port     int    `json:"port,omitempty"`
	Database string `json:"database,omitempty"`
	// SSLMode is one of libpq's that promise something: disable, require, verify-ca or verify-full.
	SSLMode string `json:"sslmode,omitempty"`
	// RootCert is the file, in every pod that connects, with the authorities that sign the server's certificate.
	RootCert     string    `json:"rootCert,omitempty"`
	UserFrom     SecretRef `json:"userFrom,omitzero"`
	PasswordFrom SecretRef `json:"passwordFrom,omitzero"`
	// URLFrom is a whole URL, instead of Host, Port, Database, UserFrom and PasswordFrom. What it says of TLS wins.
	URLFrom *SecretRef `json:"urlFrom,omitempty"`
}

// Confidential says whether the value is a secret of its own. One in the spec is none, and a derived one is made of
// others.
func (k SecretKey) Confidential() bool { return !k.Public && k.Value == "" && !k.Derived() }

// SecretRef names one key of one Secret in the same namespace.
type SecretRef struct {
	Secret string `json:"secret"`
	Key    string `json:"key"`
}

// String is SECRET/KEY.
func (r SecretRef) String() string { return r.Secret + "/" + r.Key }

// CompareRefs orders references by Secret and key.
func CompareRefs(a, b SecretRef) int { return strings.Compare(a.String(), b.String()) }

// BootstrapSpec says what the main phase needs besides the chart's own objects.
type BootstrapSpec struct {
	Namespace string `json:"namespace"`
	Release   string `json:"release"`
	Set       string `json:"set"`
	// Labels are those that everything gets which it creates itself.
	Labels      map[string]string   `json:"labels,omitempty"`
	Database    BootstrapDatabase   `json:"database"`
	SharedClaim SharedClaim         `json:"sharedClaim"`
	Workspaces  BootstrapWorkspaces `json:"workspaces"`
	Storage     BootstrapStorage    `json:"storage"`
	Migrations  []Migration         `json:"migrations"`
	// RestoreNote is as in GateSpec.
	RestoreNote string `json:"restoreNote,omitempty"`
	// Backup, when set, is the ConfigMap with the plan of the backup to make before a database with data is migrated,
	// where the hook before the main phase has not done so.
	Backup string `json:"backup,omitempty"`
	// Scheduled, when set, is the ConfigMap with the plan of backups that a CronJob makes, which needs their PVC.
	Scheduled string `json:"scheduled,omitempty"`
	// Seconds bound all steps but that backup, which has its own time.
	Seconds int `json:"seconds,omitempty"`
	// EncryptionKey is where the key is that credentials in the database are encrypted with. The environment has it too.
	EncryptionKey SecretRef `json:"encryptionKey,omitzero"`
	// Allow are the reasons against a database that a person has decided to pass.
	Allow GateOverrides `json:"allow"`
	// Operator is the CloudNativePG operator that the revision contains, if any.
	Operator *OperatorSpec `json:"operator,omitempty"`
	// Egress says what workspaces may connect to.
	Egress BootstrapEgress `json:"egress,omitzero"`
	// Front is the Service that has the node port of the web interface and lets only public paths pass, if there is one.
	Front BootstrapFront `json:"front,omitzero"`
	// OpenNodePort is the node port by which all paths of the control plane are open, without that a value asks for it.
	OpenNodePort int32 `json:"openNodePort,omitempty"`
}

// BootstrapFront is a Service, and the ConfigMap that it ends with.
type BootstrapFront struct {
	Service   string `json:"service"`
	ConfigMap string `json:"configMap"`
}

// BootstrapEgress is the NetworkPolicy that limits what workspaces may connect to.
type BootstrapEgress struct {
	// Policy is its name, in the namespace of the workspaces.
	Policy string `json:"policy,omitempty"`
	// Mode is one of package egress: auto, closed or open.
	Mode string `json:"mode,omitempty"`
	// Manifest is the file with the policy. It is empty where the release has no NetworkPolicies at all.
	Manifest string `json:"manifest,omitempty"`
}

// BootstrapDatabase says which database the platform uses: a CloudNativePG Cluster of ours, or one from outside.
type BootstrapDatabase struct {
	Mode     string            `json:"mode"`
	Cluster  string            `json:"cluster,omitempty"`
	Manifest string            `json:"manifest,omitempty"`
	External *ExternalDatabase `json:"external,omitempty"`
}

// ExternalDatabase is what a database that is not ours must offer.
type ExternalDatabase struct {
	// Connections are the most that the services open at once.
	Connections int `json:"connections"`
}

// SharedClaim is the PersistentVolumeClaim of the volume that all workspaces share.
type SharedClaim struct {
	// Manifest names the file that holds it, empty for one of the user's own.
	Manifest string `json:"manifest,omitempty"`
	// DefaultSize says that the values name no size, so that a claim which exists keeps its own.
	DefaultSize bool `json:"defaultSize,omitempty"`
}

// BootstrapWorkspaces says what the namespace of the workspaces needs.
type BootstrapWorkspaces struct {
	Namespace   string   `json:"namespace"`
	PullSecrets []string `json:"pullSecrets,omitempty"`
}

// BootstrapStorage names the ConfigMap that keeps the storage classes once they are resolved.
type BootstrapStorage struct {
	ConfigMap string         `json:"configMap,omitempty"`
	Classes   []StorageClass `json:"classes,omitempty"`
}

// StorageClass is a class to resolve and to write under Key.
type StorageClass struct {
	Key        string `json:"key"`
	Name       string `json:"name"`
	AccessMode string `json:"accessMode"`
	Value      string `json:"value"`
}

// Migration is a folder of SQL files and the source that it was copied from.
type Migration struct {
	Source string `json:"source"`
	Dir    string `json:"dir"`
	// Set names what the folder holds: services of that source wait until it is recorded.
	Set string `json:"set,omitempty"`
}

// MigrateSpec says which folders make up a set of migrations.
type MigrateSpec struct {
	Set        string      `json:"set"`
	Migrations []Migration `json:"migrations"`
	// RefuseAhead refuses a database that a newer release has migrated.
	RefuseAhead bool `json:"refuseAhead,omitempty"`
}

// SeedSpec lists the seeds to run, in order, once Set is recorded.
type SeedSpec struct {
	Set string `json:"set"`
	// Inputs are the environment variables that the seeds write into the database, besides what their command lines say:
	// when one changes, the seeds must run again.
	Inputs map[string]string `json:"inputs,omitempty"`
	Seeds  []Seed            `json:"seeds"`
}

// Digest identifies what the seeds would do: the set, the commands as written, and their inputs. No secret is part of it.
func (s SeedSpec) Digest() (string, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// Seed is one command. "$(NAME)" in it stands for the environment variable NAME.
type Seed struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
}

// RebuildSpec says how workspaces are rebuilt after an upgrade.
type RebuildSpec struct {
	Namespace string `json:"namespace"`
	// Deployments are those whose rollout has to be complete before.
	Deployments []string `json:"deployments"`
	// URL is the control plane's call that rebuilds.
	URL string `json:"url"`
}

// TeardownSpec says what to stop when the release is uninstalled.
type TeardownSpec struct {
	Namespace string `json:"namespace"`
	Release   string `json:"release"`
	// Prefix begins the names of the Jobs that an upgrade may have left running.
	Prefix     string             `json:"prefix,omitempty"`
	Cluster    string             `json:"cluster,omitempty"`
	Runner     string             `json:"runner,omitempty"`
	Workspaces TeardownWorkspaces `json:"workspaces,omitempty"`
	// RestoreNote is the ConfigMap of a restore that has not ended. It goes with the release.
	RestoreNote string `json:"restoreNote,omitempty"`
	// Keyring is the Secret with the old key and the new one of a rotation that has not ended. It stays with the data.
	Keyring string `json:"keyring,omitempty"`
	// DeleteData says that another hook deletes the data next, so nothing is kept.
	DeleteData bool `json:"deleteData,omitempty"`
	// Operator is what the release has of the CloudNativePG operator.
	Operator *OperatorSpec `json:"operator,omitempty"`
	// Revision of the release for which that was asked. Any other keeps its data.
	Revision int `json:"revision,omitempty"`
}

// TeardownWorkspaces finds the workspaces to stop.
type TeardownWorkspaces struct {
	Namespace string `json:"namespace,omitempty"`
	// Policy is the name of the NetworkPolicy that bootstrap creates there. It goes with the release.
	Policy string `json:"policy,omitempty"`
}

// Validate reports what the spec lacks.
func (s MigrateSpec) Validate() error {
	switch {
	case s.Set == "":
		return errors.New("set is empty")
	case len(s.Migrations) == 0:
		return errors.New("migrations is empty")
	}
	return nil
}

// Validate reports what the spec lacks.
func (s SeedSpec) Validate() error {
	if s.Set == "" {
		return errors.New("set is empty")
	}
	for i, seed := range s.Seeds {
		if seed.Name == "" || len(seed.Command) == 0 {
			return fmt.Errorf("seeds[%d] needs a name and a command", i)
		}
	}
	return nil
}

// TestSpec says what helm test proves of a release.
type TestSpec struct {
	// Set is the set of migrations that must be recorded.
	Set string `json:"set"`
	// LogIn is the address that takes a name and a password.
	LogIn string `json:"logIn"`
	// Services are what must answer.
	Services []TestedService `json:"services"`
}

// TestedService answers at a URL, or takes connections at an address.
type TestedService struct {
	Name    string `json:"name"`
	URL     string `json:"url,omitempty"`
	Address string `json:"address,omitempty"`
}
