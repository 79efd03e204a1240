package main

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// printMeshOneofs writes one line for each oneof of a mesh configuration: the path of the message that has it (`.` for the
// mesh configuration itself), and the names of its branches. Lists are written like their items, a map with names of the
// user's choice ends in `.*`.
func printMeshOneofs(out io.Writer) {
	printSource(out)
	lines := oneofs((&meshconfig.MeshConfig{}).ProtoReflect().Descriptor(), "")
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
}

func oneofs(message protoreflect.MessageDescriptor, path string) []string {
	var lines []string
	for i := range message.Oneofs().Len() {
		oneof := message.Oneofs().Get(i)
		if oneof.IsSynthetic() {
			continue
		}
		var branches []string
		for j := range oneof.Fields().Len() {
			branches = append(branches, oneof.Fields().Get(j).JSONName())
		}
		place := path
		if place == "" {
			place = "."
		}
		lines = append(lines, place+" "+strings.Join(branches, " "))
	}
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		place := field.JSONName()
		if path != "" {
			place = path + "." + place
		}
		if field.IsMap() {
			field, place = field.MapValue(), place+".*"
		}
		if field.Kind() == protoreflect.MessageKind && !strings.HasPrefix(string(field.Message().FullName()), "google.protobuf.") {
			lines = append(lines, oneofs(field.Message(), place)...)
		}
	}
	return lines
}
