package config_test

import (
	"fmt"
	"testing"

	"github.com/iexecform/iexecform/config"
)

// Moves lead from the first address to the last, instances by their own block before that of the whole; and back again.
func TestMoves(t *testing.T) {
	c, diags := config.Load(write(t, map[string]string{"main.hcl": `
resource "iexec_app" "c" {
  for_each = toset(["x", "y"])
  name     = each.key
}
resource "iexec_app" "one" {
  name = "one"
}
moved {
  from = iexec_app.a
  to   = iexec_app.b
}
moved {
  from = iexec_app.b
  to   = iexec_app.c
}
moved {
  from = iexec_app.b["only"]
  to   = iexec_app.one
}
`}), schemas)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for from, to := range map[string]string{
		`iexec_app.a["x"]`: `iexec_app.c["x"]`, `iexec_app.b["y"]`: `iexec_app.c["y"]`, `iexec_app.a["only"]`: "iexec_app.one",
		`iexec_app.c["x"]`: `iexec_app.c["x"]`, "iexec_app.one": "iexec_app.one", "iexec_apporder.a": "iexec_apporder.a",
	} {
		got, by, ok := c.MovedTo(parse(t, []string{from})[0])
		if !ok || got.String() != to || (by == nil) != (from == to) {
			t.Errorf("%s leads to %s, by %v, %v; want %s", from, got, by, ok, to)
		}
	}
	for to, from := range map[string]string{
		`iexec_app.c["x"]`: `[iexec_app.b["x"] iexec_app.a["x"]]`, "iexec_app.one": `[iexec_app.b["only"] iexec_app.a["only"]]`, "iexec_apporder.a": "[]",
	} {
		if got := fmt.Sprint(c.MovedFrom(parse(t, []string{to})[0])); got != from {
			t.Errorf("%s comes from %s, want %s", to, got, from)
		}
	}
}
