package lint

import (
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Rules is every rule: first those of images, orders and wallets, then those of the language. docs/reference/lint.md is made
// from it.
var Rules = append(marketRules, []Rule{
	{
		ID: "unused-declaration", Severity: Warning,
		Doc:     "A variable, local value, data source or aliased provider that nothing refers to: left over, or meant to be used where something else is.",
		Example: "variable \"price\" {\n  default = \"0.5 RLC\"\n}\n",
		find:    unusedDeclarations,
	}, {
		ID: "count-of-list", Severity: Warning,
		Doc: "`count = length(LIST)` numbers the instances: when an element in the middle goes, all after it become other instances, and their orders are " +
			"closed and signed again. `for_each` keeps each instance with its key.",
		Example: "resource \"iexec_apporder\" \"partner\" {\n  count             = length(local.partners)\n  requesterrestrict = local.partners[count.index]\n  app               = iexec_app.hello.address\n  appprice          = \"0.5 RLC\"\n  volume            = 100\n}\n",
		find:    countsOfLists,
	}, {
		ID: "plain-secret", Severity: Warning,
		Doc:     "A variable named like a secret is neither `sensitive` nor `ephemeral`, so its value may be shown in plans and messages.",
		Example: "variable \"wallet_password\" {\n  type = string\n}\n",
		find:    plainSecrets,
	}, {
		ID: "exposed-secret", Severity: Note,
		Doc:     "An output takes the mark off a sensitive value with `nonsensitive(...)`: everyone who reads the state or the log can see it.",
		Example: "output \"rpc\" {\n  value = nonsensitive(var.rpc_url)\n}\n",
		find:    exposedSecrets,
	},
	badIgnore,
}...)

func unusedDeclarations(p *pass) {
	for _, u := range p.config.Unused() {
		what := map[string]string{"variable": "Variable", "local": "Local value", "data": "Data source", "provider": "Provider configuration"}[u.Kind]
		hint := "Remove it, or refer to it as " + u.Name + "."
		if u.Kind == "provider" {
			hint = "Remove it when the state has no objects of it any more, or name it in a block: provider = " + strings.TrimPrefix(u.Name, "provider.")
		}
		p.reportAt(u.Range, what+" that nothing uses", "Nothing refers to %s. %s", u.Name, hint)
	}
}

func countsOfLists(p *pass) {
	for _, b := range p.blocks {
		call, ok := b.Count.(*hclsyntax.FunctionCallExpr)
		if !ok || call.Name != "length" || len(call.Args) != 1 {
			continue
		}
		list := p.source(call.Args[0].Range())
		for _, a := range b.Table.Attrs {
			expr := b.Expression(a.Name)
			if expr == nil || !indexes(expr, list, p) {
				continue
			}
			p.reportAt(b.Count.Range(), "Instances numbered by a list",
				"%s[count.index] is another element as soon as one before it goes, and then these orders or apps are replaced. Write for_each = toset(%s), and each.value in place of the element.", list, list)
			break
		}
	}
}

// indexes reports whether an expression has list[count.index].
func indexes(expr hcl.Expression, list string, p *pass) bool {
	node, ok := expr.(hclsyntax.Expression)
	if !ok {
		return false
	}
	found := false
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		if index, ok := n.(*hclsyntax.IndexExpr); ok && list != "" {
			found = found || p.source(index.Collection.Range()) == list && p.source(index.Key.Range()) == "count.index"
		}
		return nil
	})
	return found
}

// secretName is names of which nobody doubts that they are those of secrets: not token, which is a contract here.
var secretName = regexp.MustCompile(`(?i)(^|_)(password|passphrase|private_?key|mnemonic|seed_phrase|api_?key|secret)$`)

func plainSecrets(p *pass) {
	for _, v := range p.config.Variables() {
		if secretName.MatchString(v.Name) && !v.Sensitive && !v.Ephemeral {
			p.reportAt(v.Range, "Secret that may be shown", "Variable %q is named like a secret. Add sensitive = true, or ephemeral = true if it is not to be kept either.", v.Name)
		}
	}
}

func exposedSecrets(p *pass) {
	for _, file := range p.files {
		body, ok := file.Body.(*hclsyntax.Body)
		if !ok {
			continue
		}
		for _, b := range body.Blocks {
			value := b.Body.Attributes["value"]
			if b.Type != "output" || value == nil {
				continue
			}
			_ = hclsyntax.VisitAll(value.Expr, func(n hclsyntax.Node) hcl.Diagnostics {
				if call, ok := n.(*hclsyntax.FunctionCallExpr); ok && call.Name == "nonsensitive" {
					p.reportAt(call.Range(), "Sensitive value in an output", "Outputs are kept in the state and shown after each apply. Leave nonsensitive(...) out and add sensitive = true unless everyone may see it.")
				}
				return nil
			})
		}
	}
}
