package main

import (
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/oci"
)

// builtin makes the providers of a released program.
func builtin() providers.Registry {
	return providers.Registry{"iexec": iexec.New(), "oci": oci.New()}
}
