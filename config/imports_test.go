package config_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The language knows neither providers nor networks.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/iexecform/iexecform/"
	for _, path := range strings.Fields(string(out)) {
		own, isOwn := strings.CutPrefix(path, module)
		if isOwn && own != "config" && !strings.HasPrefix(own, "config/") || path == "net/http" || path == "net" ||
			strings.HasPrefix(path, "github.com/ethereum/") || strings.HasPrefix(path, "github.com/google/go-containerregistry") {
			t.Errorf("config depends on %s", path)
		}
	}
}
