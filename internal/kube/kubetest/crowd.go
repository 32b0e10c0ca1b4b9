package kubetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// crowd is many objects that differ by their names only, which are made as they are asked for.
type crowd struct {
	number   int
	labels   labels.Set
	kind     string
	object   []byte
	metadata []byte
}

// placeholder is the name in the stored forms of a crowd's object.
const placeholder = "NAME-OF-ONE-IN-A-CROWD"

// Crowd stores as many copies of the object in the YAML document as there are workspaces in a large cluster, say. Their
// names are that of the object and a number from 0. They can be listed, read and patched, which changes nothing.
func (s *Server) Crowd(number int, document string) {
	s.t.Helper()
	var object map[string]any
	if err := decode([]byte(document), &object); err != nil {
		s.t.Fatalf("%v in:\n%s", err, document)
	}
	u := unstructured.Unstructured{Object: object}
	at := pathOf(u)
	c := &crowd{number: number, labels: u.GetLabels(), kind: u.GetKind()}
	u.SetName(placeholder)
	var err error
	if c.object, err = json.Marshal(object); err == nil {
		c.metadata, err = json.Marshal(map[string]any{
			"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crowds == nil {
		s.crowds = map[string]*crowd{}
	}
	s.crowds[at] = c
}

// Listing is a list that was asked for.
type Listing struct {
	Path string
	// Limit is how many objects a page may have, 0 for all.
	Limit, Items int
	Metadata     bool
}

// Lists returns the lists that were asked for, page by page.
func (s *Server) Lists() []Listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Listing{}, s.lists...)
}

// serveCrowd answers for a crowd, and reports whether the request is about one.
func (s *Server) serveCrowd(w http.ResponseWriter, r *http.Request) bool {
	for first, c := range s.crowds {
		switch name := path.Base(r.URL.Path); {
		case r.URL.Path == path.Dir(first) || r.URL.Path == inAllNamespaces(first):
			return r.Method == http.MethodGet && s.listCrowd(w, r, first, c)
		case path.Dir(r.URL.Path) == path.Dir(first) && strings.HasPrefix(name, path.Base(first)+"-"):
			of := c.object
			if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
				of = c.metadata
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(strings.ReplaceAll(string(of), placeholder, name)))
			return true
		}
	}
	return false
}

func (s *Server) listCrowd(w http.ResponseWriter, r *http.Request, first string, c *crowd) bool {
	query := r.URL.Query()
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil || !selector.Matches(c.labels) {
		return false
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	start, _ := strconv.Atoi(query.Get("continue"))
	end := c.number
	if limit > 0 {
		end = min(c.number, start+limit)
	}
	metadata := metav1.ListMeta{ResourceVersion: "1"}
	if end < c.number {
		metadata.Continue = strconv.Itoa(end)
	}
	of, kind := c.object, c.kind+"List"
	onlyMetadata := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList")
	if onlyMetadata {
		of, kind = c.metadata, "PartialObjectMetadataList"
	}
	s.lists = append(s.lists, Listing{r.URL.Path, limit, end - start, onlyMetadata})
	w.Header().Set("Content-Type", "application/json")
	head, _ := json.Marshal(metadata)
	_, _ = fmt.Fprintf(w, `{"kind":%q,"apiVersion":"v1","metadata":%s,"items":[`, kind, head)
	for i := start; i < end; i++ {
		if i > start {
			_, _ = w.Write([]byte(","))
		}
		name := fmt.Sprintf("%s-%d", path.Base(first), i)
		_, _ = w.Write([]byte(strings.ReplaceAll(string(of), placeholder, name)))
	}
	_, _ = w.Write([]byte("]}"))
	return true
}
