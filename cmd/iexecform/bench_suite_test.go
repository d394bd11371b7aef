package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkTest is the time of `iexecform test` with 50 runs, as a whole process: plans, or applies of an app and an order and
// then of a higher price each, which closes the old order on chain, publishes a new one, and withdraws the old one. It has the
// start of the network in it.
func BenchmarkTest(b *testing.B) {
	const config = `
provider "iexec" {
  chain = "arbitrum-mainnet"
}
variable "price" {
  type    = number
  default = 1
}
resource "iexec_app" "a" {
  name      = "a"
  multiaddr = "docker.io/user/a:1.0"
}
resource "iexec_apporder" "a" {
  app      = iexec_app.a.address
  appprice = var.price
  volume   = 1000
}
`
	for _, command := range []string{"plan", "apply"} {
		b.Run(command, func(b *testing.B) {
			dir := b.TempDir()
			var runs strings.Builder
			for i := range 50 {
				fmt.Fprintf(&runs, "run \"r%d\" {\n  command = %s\n  variables {\n    price = %d\n  }\n  assert {\n    condition     = iexec_apporder.a.appprice == %d\n    error_message = \"The price is another.\"\n  }\n}\n",
					i, command, 1000+i, 1000+i)
			}
			for name, text := range map[string]string{"main.hcl": config, "a.iexectest.hcl": runs.String()} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			var all []cost
			for b.Loop() {
				all = append(all, measure(b, dir, "iexecform", "test"))
			}
			median(all).report(b, "test")
		})
	}
}
