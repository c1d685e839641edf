// SPDX-License-Identifier: Apache-2.0

// Package tap writes the Test Anything Protocol, version 13.
//
// The validation programs import github.com/mndrix/tap-go, which Debian does not have; the build
// puts this package in its place.  It has the calls that the programs make and no others.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the cases of a program.
type T struct {
	count *int
	todo  bool
}

// New returns a T that has seen no case.
func New() *T {
	return &T{count: new(int)}
}

// Header says how many cases there will be; zero: AutoPlan will say it.
func (t *T) Header(cases int) {
	fmt.Println("TAP version 13")
	if cases > 0 {
		fmt.Printf("1..%d\n", cases)
	}
}

// AutoPlan says how many cases there were.
func (t *T) AutoPlan() {
	fmt.Printf("1..%d\n", *t.count)
}

func (t *T) line(ok bool, text string) {
	*t.count++
	word := "ok"
	if !ok {
		word = "not ok"
	}
	fmt.Printf("%s %d %s\n", word, *t.count, strings.ReplaceAll(text, "\n", " "))
}

// Ok reports a case.
func (t *T) Ok(ok bool, description string) {
	text := "- " + description
	if t.todo {
		text = "# TODO " + description
	}
	t.line(ok, text)
}

// Pass reports a case that passed.
func (t *T) Pass(description string) {
	t.Ok(true, description)
}

// Fail reports a case that failed.
func (t *T) Fail(description string) {
	t.Ok(false, description)
}

// Skip reports cases that were not run.
func (t *T) Skip(cases int, why string) {
	for ; cases > 0; cases-- {
		t.line(true, "# SKIP "+why)
	}
}

// Todo returns a T of the same count whose cases may fail.
func (t *T) Todo() *T {
	return &T{count: t.count, todo: true}
}

// Diagnostic adds a comment.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(text, "\n", "\n# "))
}

// Diagnosticf adds a formatted comment.
func (t *T) Diagnosticf(format string, args ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, args...))
}

// YAML adds details to the case before it; they are JSON, which YAML contains.
func (t *T) YAML(details interface{}) error {
	text, err := json.MarshalIndent(details, "  ", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("  ---\n  %s\n  ...\n", text)
	return nil
}
