package main

import (
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/builtin"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/oci"
)

// builtins makes the providers of a released program.
func builtins(getenv func(string) string) providers.Registry {
	return providers.Registry{"iexec": iexec.NewIn(getenv), "iexecform": builtin.New(), "oci": oci.New()}
}
