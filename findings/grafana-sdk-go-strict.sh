#!/usr/bin/env bash
# github.com/grafana/grafana-foundation-sdk/go v0.0.22, Go 1.24 or newer, Linux.
#
# UnmarshalJSONStrict of Grafana's Go library refuses fields that its schema does not know, by its error. It ends with `return errs`, a
# nil slice of type cog.BuildErrors in a result of type error, which is never nil: every document that is right is refused as well,
# with an empty text. Who checks committed dashboards with `if err != nil` sees all of them fail and nothing named.
# What tells them apart is the number of errors: errors.As to cog.BuildErrors, and its length.
#
# Seen: right: err != nil, text "", 0 errors; one field too many: err != nil, 1 error.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
export GOPATH=$folder/go GOFLAGS=-mod=mod GOTOOLCHAIN=local
mkdir "$folder/program" && cd "$folder/program"
cat >go.mod <<'MODULE'
module program

go 1.24

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
MODULE
cat >main.go <<'PROGRAM'
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// How many errors there are, and whether `err != nil` holds.
func read(name, text string) (int, bool) {
	var board dashboard.Dashboard
	err := board.UnmarshalJSONStrict([]byte(text))
	var found cog.BuildErrors
	errors.As(err, &found)
	fmt.Printf("%s: err != nil %v, text %q, %d errors\n", name, err != nil, fmt.Sprint(err), len(found))
	return len(found), err != nil
}

func main() {
	fmt.Println("grafana-foundation-sdk/go v0.0.22,", runtime.Version())
	right, refused := read("right", `{"schemaVersion": 41, "templating": {}, "annotations": {}}`)
	wrong, _ := read("one field too many", `{"schemaVersion": 41, "templating": {}, "annotations": {}, "tilte": "a"}`)
	if right != 0 || !refused || wrong != 1 {
		fmt.Println("it behaves in another way now")
		os.Exit(1)
	}
}
PROGRAM
go run .
