package backends_test

import (
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/backends"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/state/local"
)

func environment(vars map[string]string) backends.Environment {
	return backends.Environment{
		Getenv: func(name string) string { return vars[name] },
		Path:   func(name string) string { return "/project/" + name },
	}
}

// A block comes before the environment, and that before the default.
func TestOpen(t *testing.T) {
	env := environment(map[string]string{"IEXECFORM_BACKEND_PATH": "env.json", "HOME": "/home/me"})
	for want, values := range map[string]map[string]cty.Value{
		"/project/env.json":   nil,
		"/project/block.json": {"path": cty.StringVal("block.json")},
		"/home/me/s.json":     {"path": cty.StringVal("~/s.json")},
	} {
		b, err := backends.Open(t.Context(), backends.Local, values, env, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.(*local.Backend).Path("default"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What is wrong with an argument is said with its name, and a secret is never quoted.
func TestErrors(t *testing.T) {
	open := func(typ string, vars map[string]string) error {
		_, err := backends.Open(t.Context(), typ, nil, environment(vars), nil)
		return err
	}
	parse := func(typ, name, value string) error {
		_, err := backends.Parse(typ, map[string]string{name: value})
		return err
	}
	for want, err := range map[string]error{
		"there is no backend":                open("shelf", nil),
		"IEXECFORM_BACKEND_PATH: the name":   open("local", map[string]string{"IEXECFORM_BACKEND_PATH": "state"}),
		"needs bucket":                       open("s3", nil),
		"IEXECFORM_BACKEND_BUCKET":           open("s3", nil),
		`no argument "pth". Did you mean`:    parse("local", "pth", "x"),
		"password is secret":                 parse("http", "password", "hidden"),
		"it has a password":                  parse("pg", "conn_str", "postgres://u:hidden@h/d"),
		"conn_str: it has a password":        parse("pg", "conn_str", "host=h password = hidden"),
		"it has credentials":                 parse("http", "address", "https://u:hidden@h/x"),
		`want a time such as "30s"`:          parse("s3", "lock_ttl", "soon"),
		"IEXECFORM_BACKEND_LOCK_TTL: want a": open("pg", map[string]string{"IEXECFORM_BACKEND_LOCK_TTL": "1"}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The pages of the reference are made of the tables: each argument says what it is, and secrets where they come from.
func TestTables(t *testing.T) {
	for kind, tables := range backends.Tables() {
		for name, table := range tables {
			if table.Type != name || table.Doc == "" || table.Example == "" {
				t.Errorf("%s %s lacks something: %+v", kind, name, table)
			}
			for _, a := range table.Attrs {
				if a.Doc == "" || a.Sensitive && !strings.Contains(a.Doc, config.StateVariable(kind, a.Name)) {
					t.Errorf("%s %s: %s says %q", kind, name, a.Name, a.Doc)
				}
			}
		}
	}
}

func TestCodec(t *testing.T) {
	if c, err := backends.Codec(nil, environment(nil)); c != nil || err != nil {
		t.Errorf("without a block: %v, %v", c, err)
	}
	block := &config.StateBlock{Values: map[string]cty.Value{"work_factor": cty.NumberIntVal(10)}}
	if _, err := backends.Codec(block, environment(nil)); err == nil || !strings.Contains(err.Error(), "IEXECFORM_ENCRYPTION_PASSPHRASE") {
		t.Errorf("without a key: %v", err)
	}
	c, err := backends.Codec(block, environment(map[string]string{"IEXECFORM_ENCRYPTION_PASSPHRASE": "p"}))
	if err != nil || !c.Encrypts() {
		t.Errorf("with a passphrase: %v", err)
	}
	block.Values["identity_file"] = cty.StringVal("nowhere.key")
	if _, err := backends.Codec(block, environment(nil)); err == nil || !strings.Contains(err.Error(), "/project/nowhere.key") {
		t.Errorf("without the file: %v", err)
	}
}
