// Command istio-oracle answers what istiod makes of a mesh configuration and an injection template, again and again
// without starting anew: the judge of what the operator renders.
//
// It reads one JSON request per line and answers each with one line: {"containers": […]} or {"error": …}. With the
// argument `mesh-names` it prints the names of all fields of a mesh configuration instead, and with `mesh-oneofs` the
// fields that exclude each other; tests/accepted.rs compares both with mesh_names.txt and mesh_oneofs.txt.
// Nothing here talks to a cluster or to a network.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/util/protomarshal"
)

// request has the data of the ConfigMaps `istio` and `istio-sidecar-injector`.
type request struct {
	// Mesh is the mesh configuration, YAML.
	Mesh string `json:"mesh"`
	// Injection is the configuration of the injector with its templates, YAML.
	Injection string `json:"injection"`
	// Values are what the templates are filled with, JSON.
	Values string `json:"values"`
}

// answer has the names of all containers of a pod after injection.
type answer struct {
	Containers []string `json:"containers,omitempty"`
	Error      string   `json:"error,omitempty"`
}

func main() {
	quiet := log.DefaultOptions()
	quiet.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	if err := log.Configure(quiet); err != nil {
		fail(err)
	}
	if len(os.Args) == 2 && os.Args[1] == "mesh-names" {
		printMeshNames(os.Stdout)
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "mesh-oneofs" {
		printMeshOneofs(os.Stdout)
		return
	}
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = respond(out, line)
		}
		if err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "istio-oracle:", err)
	os.Exit(1)
}

func respond(out *bufio.Writer, line []byte) error {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return err
	}
	given := answer{}
	containers, err := judge(&asked)
	if err != nil {
		given.Error = err.Error()
	} else {
		given.Containers = containers
	}
	text, err := json.Marshal(given)
	if err != nil {
		return err
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return err
	}
	return out.Flush()
}

func judge(asked *request) ([]string, error) {
	// istiod passes over names that it does not know; the operator must not write any.
	if err := protomarshal.ApplyYAMLStrict(asked.Mesh, mesh.DefaultMeshConfig()); err != nil {
		return nil, fmt.Errorf("mesh configuration: %w", err)
	}
	config, err := mesh.ApplyMeshConfigDefaults(asked.Mesh)
	if err != nil {
		return nil, fmt.Errorf("mesh configuration: %w", err)
	}
	injector, err := inject.UnmarshalConfig([]byte(asked.Injection))
	if err != nil {
		return nil, fmt.Errorf("injection templates: %w", err)
	}
	values, err := inject.NewValuesConfig(asked.Values)
	if err != nil {
		return nil, fmt.Errorf("values of injection: %w", err)
	}
	warnings := ""
	warn := func(text string) { warnings += text }
	injected, err := inject.IntoObject(nil, injector.Templates, values, "", config, plainPod(), warn)
	if err != nil {
		return nil, fmt.Errorf("injection: %w", err)
	}
	pod, ok := injected.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("injection gives no pod, but %T: %s", injected, warnings)
	}
	return names(pod), nil
}

func plainPod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "shop", Labels: map[string]string{"app": "app"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.com/app:1"}}},
	}
}

func names(pod *corev1.Pod) []string {
	var found []string
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		found = append(found, container.Name)
	}
	return found
}
