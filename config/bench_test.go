package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/config"
)

const forEach = `
resource "iexec_app" "app" {
  for_each  = { for p in setproduct(range(%d), range(100)) : "k${p[0]}-${p[1]}" => p[1] }
  name      = each.key
  multiaddr = "docker.io/x:${each.value}"
}
resource "iexec_apporder" "o" {
  for_each = { for p in setproduct(range(%[1]d), range(100)) : "k${p[0]}-${p[1]}" => p[1] }
  app      = iexec_app.app[each.key].address
  appprice = "1 RLC"
  volume   = 1000
  tag      = ["tee", "tdx"]
}
`

func separate(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "resource \"iexec_app\" \"a%d\" {\n  name = \"n%[1]d\"\n}\n", i)
		fmt.Fprintf(&b, "resource \"iexec_apporder\" \"o%d\" {\n  app = iexec_app.a%[1]d.address\n  appprice = \"1 RLC\"\n  tag = [\"tee\", \"tdx\"]\n}\n", i)
	}
	return b.String()
}

func chain(n int) string {
	var b strings.Builder
	b.WriteString("resource \"iexec_app\" \"a0\" {\n  name = \"n\"\n}\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "resource \"iexec_app\" \"a%d\" {\n  name = iexec_app.a%d.name\n}\n", i, i-1)
	}
	return b.String()
}

// fan is one local over n blocks that n instances use: the dependencies are shared.
func fan(n int) string {
	var b strings.Builder
	b.WriteString("locals {\n  all = [\n")
	for i := range n {
		fmt.Fprintf(&b, "iexec_app.a%d.address,\n", i)
	}
	b.WriteString("]\n}\n")
	for i := range n {
		fmt.Fprintf(&b, "resource \"iexec_app\" \"a%d\" {\n  name = \"n%[1]d\"\n}\n", i)
	}
	fmt.Fprintf(&b, "resource \"iexec_apporder\" \"o\" {\n  count = %d\n  app = local.all[count.index]\n  appprice = 1\n}\n", n)
	return b.String()
}

func BenchmarkEvaluate(b *testing.B) {
	for name, source := range map[string]func(int) string{
		"for_each": func(n int) string { return fmt.Sprintf(forEach, n/100) },
		"separate": separate, "chain": chain, "fan": fan,
	} {
		for _, n := range []int{1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				c := load(b, source(n))
				b.ReportAllocs()
				for b.Loop() {
					if e, diags := evaluate(b, c, &recorder{quiet: true}); len(diags) > 0 || len(e.Instances) < n {
						b.Fatal(diags)
					}
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for name, source := range map[string]func(int) string{
		"for_each": func(n int) string { return fmt.Sprintf(forEach, n/100) },
		"separate": separate, "chain": chain,
	} {
		for _, n := range []int{1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				dir := write(b, map[string]string{"main.hcl": source(n)})
				b.ReportAllocs()
				for b.Loop() {
					if _, diags := config.Load(dir, schemas); len(diags) > 0 {
						b.Fatal(diags)
					}
				}
			})
		}
	}
}
