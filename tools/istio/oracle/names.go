package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"sort"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// printMeshNames writes where the names come from, and one line for each field that a mesh configuration can have: its path, and what it holds. Lists
// are written like their items, a map with names of the user's choice ends in `.*`.
func printMeshNames(out io.Writer) {
	printSource(out)
	lines := fields((&meshconfig.MeshConfig{}).ProtoReflect().Descriptor(), "")
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
}

// printSource names the module and version that the names come from.
func printSource(out io.Writer) {
	if built, ok := debug.ReadBuildInfo(); ok {
		for _, module := range built.Deps {
			if module.Path == "istio.io/api" {
				fmt.Fprintln(out, "#", module.Path, module.Version)
			}
		}
	}
}

func fields(message protoreflect.MessageDescriptor, path string) []string {
	var lines []string
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		lines = append(lines, lineOf(field, path+field.JSONName())...)
	}
	return lines
}

func lineOf(field protoreflect.FieldDescriptor, path string) []string {
	if field.IsMap() {
		return append([]string{path + " message"}, kindOf(field.MapValue(), path+".*")...)
	}
	kind := kindOf(field, path)
	if field.IsList() {
		place, what, _ := strings.Cut(kind[0], " ")
		kind[0] = place + " list " + what
	}
	return kind
}

func kindOf(field protoreflect.FieldDescriptor, path string) []string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return []string{path + " bool"}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return []string{path + " string"}
	case protoreflect.EnumKind:
		return []string{path + " one of " + strings.Join(enumNames(field.Enum()), " ")}
	case protoreflect.MessageKind:
		return ofMessage(field.Message(), path)
	default:
		return []string{path + " number"}
	}
}

// ofMessage knows the messages that have a form of their own in JSON.
func ofMessage(message protoreflect.MessageDescriptor, path string) []string {
	switch message.FullName() {
	case "google.protobuf.Duration":
		return []string{path + " duration"}
	case "google.protobuf.BoolValue":
		return []string{path + " bool"}
	case "google.protobuf.StringValue":
		return []string{path + " string"}
	case "google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value",
		"google.protobuf.UInt64Value", "google.protobuf.FloatValue", "google.protobuf.DoubleValue":
		return []string{path + " number"}
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any",
		"google.protobuf.Timestamp":
		return []string{path + " anything"}
	}
	return append([]string{path + " message"}, fields(message, path+".")...)
}

func enumNames(enum protoreflect.EnumDescriptor) []string {
	var names []string
	for i := range enum.Values().Len() {
		names = append(names, string(enum.Values().Get(i).Name()))
	}
	return names
}
