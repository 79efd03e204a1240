// Command helm-oracle answers what Helm makes of a chart, again and again without starting anew: the judge of the renderer.
//
// It reads one JSON request per line and answers each with one line: {"output": …, "notes": …} or {"error": …}.
// Nothing here talks to a cluster or to a network.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	chartapi "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// request asks for a chart from a folder or archive, or for templates given as text.
type request struct {
	// Chart is the path of a chart.
	Chart string `json:"chart"`
	// Templates are files of a chart made for this request, by path; they are used when Chart is empty.
	Templates map[string]string `json:"templates"`
	// Values are the texts of value files, the later ones over the earlier ones.
	Values []string `json:"values"`

	Name        string   `json:"name"`
	Namespace   string   `json:"namespace"`
	KubeVersion string   `json:"kubeVersion"`
	APIVersions []string `json:"apiVersions"`
	IncludeCRDs bool     `json:"includeCrds"`
	IsUpgrade   bool     `json:"isUpgrade"`
}

// answer has the text that `helm template` prints, or for templates the output of each.
type answer struct {
	Output string            `json:"output,omitempty"`
	Files  map[string]string `json:"files,omitempty"`
	Notes  string            `json:"notes,omitempty"`
	Error  string            `json:"error,omitempty"`
}

func main() {
	log.SetOutput(io.Discard)
	slog.SetDefault(slog.New(slog.DiscardHandler))
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
			fmt.Fprintln(os.Stderr, "helm-oracle:", err)
			os.Exit(1)
		}
	}
}

func respond(out *bufio.Writer, line []byte) error {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return err
	}
	given, err := judge(&asked)
	if err != nil {
		given = answer{Error: err.Error()}
		if given.Error == "" {
			given.Error = "an error without text"
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(given); err != nil {
		return err
	}
	return out.Flush()
}

// judge turns a panic into an error, as Helm's engine does for those of its own.
func judge(asked *request) (given answer, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	values := map[string]any{}
	for _, text := range asked.Values {
		file, err := loader.LoadValues(strings.NewReader(text))
		if err != nil {
			return answer{}, fmt.Errorf("failed to parse values: %w", err)
		}
		values = loader.MergeMaps(values, file)
	}
	if asked.Chart == "" {
		return renderTemplates(asked, values)
	}
	return renderChart(asked, values)
}

// renderTemplates uses the engine alone, so that the text of each template is seen as it is.
func renderTemplates(asked *request, values map[string]any) (answer, error) {
	made := &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: "v2", Name: "snippet", Version: "0.1.0", AppVersion: "1.2.3"},
	}
	for path, text := range asked.Templates {
		file := &common.File{Name: path, Data: []byte(text)}
		if strings.HasPrefix(path, "templates/") {
			made.Templates = append(made.Templates, file)
		} else {
			made.Files = append(made.Files, file)
		}
	}
	options := common.ReleaseOptions{Name: asked.Name, Namespace: asked.Namespace, Revision: 1, IsInstall: true}
	top, err := util.ToRenderValues(made, values, options, nil)
	if err != nil {
		return answer{}, err
	}
	files, err := engine.Render(made, top)
	return answer{Files: files}, err
}

// renderChart does what `helm template` does, up to what it prints.
func renderChart(asked *request, values map[string]any) (answer, error) {
	install := action.NewInstall(action.NewConfiguration())
	install.DryRunStrategy = action.DryRunClient
	install.Replace = true
	install.ReleaseName, install.Namespace = asked.Name, asked.Namespace
	install.IncludeCRDs, install.IsUpgrade = asked.IncludeCRDs, asked.IsUpgrade
	install.APIVersions = asked.APIVersions
	if asked.KubeVersion != "" {
		version, err := common.ParseKubeVersion(asked.KubeVersion)
		if err != nil {
			return answer{}, fmt.Errorf("invalid kube version '%s': %w", asked.KubeVersion, err)
		}
		install.KubeVersion = version
	}
	loaded, err := loader.Load(asked.Chart)
	if err != nil {
		return answer{}, err
	}
	if err := checkInstallable(loaded); err != nil {
		return answer{}, err
	}
	made, err := install.RunWithContext(context.Background(), loaded, values)
	if err != nil {
		return answer{}, err
	}
	done, ok := made.(*release.Release)
	if !ok {
		return answer{}, fmt.Errorf("a release of type %T", made)
	}
	return answer{Output: printed(done), Notes: done.Info.Notes}, nil
}

// checkInstallable makes the checks that the command makes before the action.
func checkInstallable(loaded *chart.Chart) error {
	accessor, err := chartapi.NewAccessor(loaded)
	if err != nil {
		return err
	}
	if loaded.Metadata.Type != "" && loaded.Metadata.Type != "application" {
		return fmt.Errorf("%s charts are not installable", loaded.Metadata.Type)
	}
	if wanted := accessor.MetaDependencies(); len(wanted) > 0 {
		return action.CheckDependencies(loaded, wanted)
	}
	return nil
}

// printed is the standard output of `helm template`.
func printed(done *release.Release) string {
	var text bytes.Buffer
	fmt.Fprintln(&text, strings.TrimSpace(done.Manifest))
	for _, hook := range done.Hooks {
		fmt.Fprintf(&text, "---\n# Source: %s\n%s\n", hook.Path, hook.Manifest)
	}
	return text.String()
}
