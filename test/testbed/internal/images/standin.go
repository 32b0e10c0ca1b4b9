package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/gobuild"
	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/internal/platform"
)

// standinBinary is where every stand-in image holds the one binary. The links of images.yaml point to it.
const standinBinary = "/standin"

// standin is one entry of test/standin/images.yaml: how the stand-in of one published image looks from outside.
type standin struct {
	// Image is the key under global.images in the chart's values, or an agent's type.
	Image string `json:"image"`
	// Workdir, Entrypoint, Cmd, User and Env are the image's configuration.
	Workdir    string            `json:"workdir"`
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	User       string            `json:"user"`
	Env        map[string]string `json:"env"`
	// Links maps paths in the image to what they point to.
	Links map[string]string `json:"links"`
	// Files maps paths in the image to files or directories below test/standin.
	Files map[string]string `json:"files"`
	// Variants are other tags of the same image.
	Variants []variant `json:"variants"`
}

// variant is the same image under another tag with other variables and files laid over its own.
type variant struct {
	Tag   string            `json:"tag"`
	Env   map[string]string `json:"env"`
	Files map[string]string `json:"files"`
}

// standedIn lists the published images that have a stand-in, by their names in images.yaml.
func standedIn() map[string]platform.Image {
	own := []string{"postgresql", "coturn", "pause", platform.HooksImage.Key, platform.OperatorImage.Key}
	all := map[string]platform.Image{}
	for _, image := range slices.Concat(platform.Images(), platform.ModuleImages(), []platform.Image{platform.OpenSandboxImage}) {
		name := image.Key
		if name == "agent" {
			name = agentType(image)
		}
		if !slices.Contains(own, name) {
			all[name] = image
		}
	}
	return all
}

// agentType tells which of the agents' images this is.
func agentType(image platform.Image) string {
	for _, kind := range platform.AgentTypes {
		if strings.HasSuffix(image.Repository, "-"+kind) {
			return kind
		}
	}
	return image.Key
}

func (b builder) standins(ctx context.Context) ([]recipe, error) {
	dir := filepath.Join(b.root, "test/standin")
	described, err := loadStandins(dir)
	if err != nil {
		return nil, err
	}
	program, err := gobuild.Program{Dir: b.root, Package: "./test/standin", Arch: runtime.GOARCH, Keep: b.dir}.Build(ctx)
	if err != nil {
		return nil, err
	}
	binary, err := ociimage.Stored.Layer(ociimage.File{Path: standinBinary, Content: program, Mode: 0o755}, tmp())
	if err != nil {
		return nil, err
	}
	published := standedIn()
	var recipes []recipe
	for _, described := range described {
		image := published[described.Image]
		variants := append([]variant{{Tag: image.Tag}}, described.Variants...)
		for _, variant := range variants {
			made, err := described.build(dir, binary, variant)
			if err != nil {
				return nil, fmt.Errorf("%s: stand-in %s: %w", dir, described.Image, err)
			}
			image.Tag = variant.Tag
			one, err := finished("standin-"+described.Image+"-"+variant.Tag, made, image.Ref())
			if err != nil {
				return nil, err
			}
			recipes = append(recipes, one)
		}
	}
	return recipes, nil
}

// readStandins reads dir's images.yaml.
func readStandins(dir string) ([]standin, error) {
	file := filepath.Join(dir, "images.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("stand-ins: %w", err)
	}
	var all []standin
	if err := yaml.UnmarshalStrict(content, &all); err != nil {
		return nil, fmt.Errorf("stand-ins: %s: %w", file, err)
	}
	return all, nil
}

// loadStandins reads and checks dir's images.yaml.
func loadStandins(dir string) ([]standin, error) {
	all, err := readStandins(dir)
	if err != nil {
		return nil, err
	}
	published := standedIn()
	var problems []error
	described := map[string]bool{}
	for i, one := range all {
		if one.Image == "" {
			problems = append(problems, fmt.Errorf("entry %d names no image", i+1))
			continue
		}
		image, known := published[one.Image]
		if !known {
			problems = append(problems, fmt.Errorf("%s: no published image is called that; there are %s",
				one.Image, strings.Join(slices.Sorted(maps.Keys(published)), ", ")))
		}
		if described[one.Image] {
			problems = append(problems, fmt.Errorf("%s: described twice", one.Image))
		}
		described[one.Image] = true
		for _, problem := range one.problems(image.Tag) {
			problems = append(problems, fmt.Errorf("%s: %w", one.Image, problem))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(published)) {
		if !described[name] {
			problems = append(problems, fmt.Errorf("%s: not described", name))
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("stand-ins: %s: %w", filepath.Join(dir, "images.yaml"), errors.Join(problems...))
	}
	return all, nil
}

// problems lists what is wrong with one entry, for an image whose default tag is tag.
func (s standin) problems(tag string) []error {
	var problems []error
	if len(s.Entrypoint) == 0 && len(s.Cmd) == 0 {
		problems = append(problems, errors.New("has neither entrypoint nor cmd, so nothing would run"))
	}
	_, passwd := s.Files["/etc/passwd"]
	if user, _, _ := strings.Cut(s.User, ":"); user != "" && !passwd {
		if _, err := strconv.ParseUint(user, 10, 32); err != nil {
			problems = append(problems, fmt.Errorf("user %q is a name, which needs a file /etc/passwd: give one or its number", s.User))
		}
	}
	for _, target := range slices.Sorted(maps.Keys(s.Links)) {
		if s.Links[target] == "" {
			problems = append(problems, fmt.Errorf("link %s points to nothing", target))
		}
	}
	tags := map[string]bool{tag: true}
	for _, variant := range s.Variants {
		switch {
		case variant.Tag == "":
			problems = append(problems, errors.New("a variant has no tag"))
		case tags[variant.Tag]:
			problems = append(problems, fmt.Errorf("tag %s is given twice", variant.Tag))
		}
		tags[variant.Tag] = true
	}
	return problems
}

// build makes one variant's image of the binary's layer and a layer of its own files.
func (s standin) build(dir string, binary v1.Layer, variant variant) (v1.Image, error) {
	byPath := map[string]ociimage.File{}
	for target, link := range s.Links {
		byPath[target] = ociimage.File{Path: target, Link: link, Mode: fs.ModeSymlink}
	}
	for _, files := range []map[string]string{s.Files, variant.Files} {
		for _, target := range slices.Sorted(maps.Keys(files)) {
			found, err := filesBelow(dir, files[target], target)
			if err != nil {
				return nil, err
			}
			for _, file := range found {
				byPath[file.Path] = file
			}
		}
	}
	if s.Workdir != "" && s.Workdir != "/" {
		byPath[s.Workdir] = ociimage.File{Path: s.Workdir, Mode: fs.ModeDir | 0o755}
	}
	layer, err := ociimage.Stored.Layer(slices.Collect(maps.Values(byPath))...)
	if err != nil {
		return nil, err
	}
	config := v1.Config{WorkingDir: s.Workdir, Entrypoint: s.Entrypoint, Cmd: s.Cmd, User: s.User}
	env := maps.Clone(s.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, variant.Env)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		config.Env = append(config.Env, name+"="+env[name])
	}
	return ociimage.New(here(), config, binary, layer)
}

// filesBelow lists the file or the directory's files at source below dir, as they are to lie at target in the image.
func filesBelow(dir, source, target string) ([]ociimage.File, error) {
	if !filepath.IsLocal(source) {
		return nil, fmt.Errorf("files %s: %s does not lie below %s", target, source, dir)
	}
	start := filepath.Join(dir, source)
	var files []ociimage.File
	err := filepath.WalkDir(start, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(start, name)
		if err != nil {
			return err
		}
		files = append(files, ociimage.File{
			Path: path.Join(target, filepath.ToSlash(inside)), Source: name, Mode: 0o644 | info.Mode().Perm()&0o111,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("files %s: %w", target, err)
	}
	return files, nil
}
