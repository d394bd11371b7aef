package addr_test

import (
	"slices"
	"testing"

	"github.com/iexecform/iexecform/config/addr"
)

func TestModule(t *testing.T) {
	key := addr.StringKey(`a.b]"[${x}é`)
	m := addr.Module("").Child("one", addr.Key{}).Child("two", key).Child("three", addr.IntKey(7))
	for _, i := range []addr.Instance{
		{Resource: addr.Resource{Module: m, Type: "iexec_app", Name: "a"}, Key: key},
		{Resource: addr.Resource{Module: m, Mode: addr.Data, Type: "oci_image", Name: "i"}},
		{Resource: addr.Resource{Module: m, Type: "module", Name: "a"}},
	} {
		got, err := addr.ParseInstance(i.String())
		if i.Resource.Type == "module" { // module.a is no resource
			if err == nil {
				t.Errorf("%s is %v", i, got)
			}
			continue
		}
		if err != nil || got != i {
			t.Errorf("%s: %v %v", i, got, err)
		}
	}
	if got := m.Call(); got != "module.one.module.two.module.three" {
		t.Error(got)
	}
	if got, err := addr.ParseTarget(string(m)); err != nil || got.String() != string(m) || got.Resource.Module != m {
		t.Error(got, err)
	}
}

func TestMoved(t *testing.T) {
	for _, c := range []struct{ from, to, before, after string }{
		{"iexec_app.a", "iexec_app.b", "iexec_app.a", "iexec_app.b"},
		{"iexec_app.a", "iexec_app.b", "iexec_app.a[0]", "iexec_app.b[0]"},
		{"iexec_app.a", `iexec_app.b["x"]`, "iexec_app.a", `iexec_app.b["x"]`},
		{"iexec_app.a", `iexec_app.b["x"]`, "iexec_app.a[0]", ""},
		{"iexec_app.a", "module.m.iexec_app.a", "iexec_app.a", "module.m.iexec_app.a"},
		{"module.a", "module.b", `module.a["x"].iexec_app.a[1]`, `module.b["x"].iexec_app.a[1]`},
		{"module.a", "module.b.module.c", "module.a.module.d[0].iexec_app.a", "module.b.module.c.module.d[0].iexec_app.a"},
		{"module.a", "module.a[0]", "module.a.iexec_app.a", "module.a[0].iexec_app.a"},
		{"module.a", "module.a[0]", "module.a[1].iexec_app.a", ""},
		{"module.a[0]", `module.a["x"]`, "module.a[0].iexec_app.a", `module.a["x"].iexec_app.a`},
		{"module.a[0]", "module.b", "module.a[1].iexec_app.a", ""},
		{"module.a", "module.b", "module.ab.iexec_app.a", ""},
		{"module.a", "module.b", "iexec_app.a", ""},
	} {
		var i [3]addr.Instance
		for n, text := range []string{c.from, c.to, c.before} {
			var err error
			if i[n], err = addr.ParseTarget(text); err != nil {
				t.Fatal(err)
			}
		}
		got, ok := i[2].Moved(i[0], i[1])
		if ok != (c.after != "") || ok && got.String() != c.after {
			t.Errorf("%s -> %s: %s becomes %s %v, want %s", c.from, c.to, c.before, got, ok, c.after)
		}
	}
}

func TestModuleContains(t *testing.T) {
	for _, c := range []struct {
		outer, inner addr.Module
		want         bool
	}{
		{"", "module.a", true},
		{"module.a", "module.a", true},
		{"module.a", `module.a["x"].module.b`, true},
		{`module.a["x"]`, `module.a["x"].module.b[0]`, true},
		{`module.a["x"]`, `module.a["y"]`, false},
		{`module.a.module.b[0]`, `module.a["x"].module.b[0]`, true},
		{"module.a", "module.ab", false},
		{"module.a.module.b", "module.a", false},
	} {
		if got := c.outer.Contains(c.inner); got != c.want {
			t.Errorf("%s contains %s: %v", c.outer, c.inner, got)
		}
	}
}

func TestModuleOrder(t *testing.T) {
	want := []string{"iexec_app.z", "data.oci_image.a", "module.a.iexec_app.x", "module.a[2].iexec_app.x", "module.a[10].iexec_app.x", "module.a[10].module.b.iexec_app.x", "module.b.iexec_app.a"}
	var list []addr.Instance
	for _, text := range want {
		i, err := addr.ParseInstance(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append([]addr.Instance{i}, list...)
	}
	slices.SortFunc(list, addr.Instance.Compare)
	for n, i := range list {
		if i.String() != want[n] {
			t.Errorf("%d: %s, want %s", n, i, want[n])
		}
	}
}

func TestModuleRefuses(t *testing.T) {
	for _, text := range []string{"module", "module.", "module.a.", "module.a[0]x.y", "module.a[", `module.a["x"`, "module.a[x].iexec_app.a", "module.a.iexec_app", "module.1.iexec_app.a", "module.a[0][1].iexec_app.a"} {
		if got, err := addr.ParseTarget(text); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
