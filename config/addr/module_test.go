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
	moved := m.Within(addr.Module("").Child("one", addr.Key{}), addr.Module("").Child("uno", addr.IntKey(1)))
	if want := addr.Module("").Child("uno", addr.IntKey(1)).Child("two", key).Child("three", addr.IntKey(7)); moved != want {
		t.Error(moved)
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
