package requirement

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/neutree-ai/packaging/internal/chart"
)

const (
	cnpgGroup = "postgresql.cnpg.io"
	// postgresUser is the user of CloudNativePG's images.
	postgresUser = 26
)

// operator finds the operator that the release brings.
func (d *derivation) operator(*chart.Rendered) error {
	for _, pod := range d.set.Pods {
		if pod.By == Helm && pod.Labels["app.kubernetes.io/name"] == "cloudnative-pg" && len(pod.Spec.Containers) > 0 {
			d.set.Operator.Bundled, d.set.Operator.Image = true, pod.Spec.Containers[0].Image
		}
	}
	d.set.Operator.CRDs = slices.ContainsFunc(d.set.Objects, func(o Object) bool {
		return o.GetKind() == "CustomResourceDefinition" && o.GetName() == "clusters."+cnpgGroup
	})
	return nil
}

// cluster is what is read of a CloudNativePG Cluster.
type cluster struct {
	Spec struct {
		Instances        int32                         `json:"instances"`
		ImageName        string                        `json:"imageName"`
		ImagePullPolicy  corev1.PullPolicy             `json:"imagePullPolicy"`
		ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
		Storage          clusterStorage                `json:"storage"`
		WalStorage       *clusterStorage               `json:"walStorage"`
		Resources        corev1.ResourceRequirements   `json:"resources"`
		Affinity         struct {
			NodeSelector map[string]string   `json:"nodeSelector"`
			Tolerations  []corev1.Toleration `json:"tolerations"`
		} `json:"affinity"`
		Backup struct {
			VolumeSnapshot struct {
				ClassName string `json:"className"`
			} `json:"volumeSnapshot"`
		} `json:"backup"`
	} `json:"spec"`
}

type clusterStorage struct {
	Size         string `json:"size"`
	StorageClass string `json:"storageClass"`
}

// database adds what the operator makes of a Cluster.
func (d *derivation) database(*chart.Rendered) error {
	db := &d.set.Database
	db.Mode, db.Name, db.User = d.bootstrap.Database.Mode, d.values.text("global", "database", "name"), d.values.text("global", "database", "user")
	if external := d.bootstrap.Database.External; external != nil {
		db.Connections = external.Connections
	}
	at := func(key string) string { return d.values.text("global", "database", "external", key) }
	if db.Mode == "external" {
		db.External = ExternalDatabase{
			Host: at("host"), Port: d.values.number("global", "database", "external", "port"), SSLMode: at("sslmode"),
			Secret: at("existingSecret"), UserKey: at("userKey"), PassKey: at("passwordKey"), URLKey: at("urlKey"),
			CASecret: at("caSecret"), CAKey: at("caSecretKey"),
		}
	}
	for _, object := range each[cluster](d, "Cluster") {
		if object.GroupVersionKind().Group != cnpgGroup {
			continue
		}
		if err := d.cluster(object.Object, object.typed); err != nil {
			return err
		}
	}
	return nil
}

func (d *derivation) cluster(object Object, c *cluster) error {
	name := object.GetName()
	d.set.Database.Cluster, d.set.Database.Instances = name, c.Spec.Instances
	d.set.Database.SnapshotClass = c.Spec.Backup.VolumeSnapshot.ClassName
	user, yes, no := int64(postgresUser), true, false
	restricted := &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	spec := corev1.PodSpec{
		// The operator creates it.
		ServiceAccountName: name,
		NodeSelector:       c.Spec.Affinity.NodeSelector,
		Tolerations:        c.Spec.Affinity.Tolerations,
		ImagePullSecrets:   c.Spec.ImagePullSecrets,
		SecurityContext: &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, RunAsNonRoot: &yes,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "postgres", Image: c.Spec.ImageName, ImagePullPolicy: c.Spec.ImagePullPolicy,
			Resources: c.Spec.Resources, SecurityContext: restricted}},
		Volumes: []corev1.Volume{{Name: "pgdata", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-1"}}}},
	}
	if image := d.set.Operator.Image; image != "" {
		spec.InitContainers = []corev1.Container{{Name: "bootstrap-controller", Image: image,
			ImagePullPolicy: c.Spec.ImagePullPolicy, Resources: c.Spec.Resources, SecurityContext: restricted}}
	}
	d.set.Pods = append(d.set.Pods, Pod{
		Owner: "Cluster " + name, Namespace: object.GetNamespace(), Labels: map[string]string{"cnpg.io/cluster": name},
		Spec: spec, Replicas: c.Spec.Instances, By: CloudNativePG, Why: "PostgreSQL", Value: "global.database.cnpg.resources",
	})
	for _, volume := range []struct {
		suffix, role string
		*clusterStorage
	}{{"", "PG_DATA", &c.Spec.Storage}, {"-wal", "PG_WAL", c.Spec.WalStorage}} {
		storage := volume.clusterStorage
		if storage == nil {
			continue
		}
		size, err := resource.ParseQuantity(storage.Size)
		if err != nil {
			return fmt.Errorf("%s: storage of %q: %w", object.Source, storage.Size, err)
		}
		d.set.Claims = append(d.set.Claims, Claim{
			Name: name + "-1" + volume.suffix, Namespace: object.GetNamespace(),
			Class: storage.StorageClass, AccessMode: corev1.ReadWriteOnce,
			Selector: "cnpg.io/cluster=" + name + ",cnpg.io/pvcRole=" + volume.role,
			Size:     size, Count: c.Spec.Instances, Grows: true, User: &user, Group: &user, By: CloudNativePG,
			Why: "PostgreSQL", Value: "global.database.cnpg.storage.storageClass",
		})
	}
	return nil
}
