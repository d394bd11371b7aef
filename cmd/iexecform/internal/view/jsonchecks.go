package view

import (
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
)

// jsonCheck is what the conditions of a block came to, in Terraform's shape: the block, and each of its instances.
type jsonCheck struct {
	Address   jsonCheckAddr       `json:"address"`
	Status    config.CheckStatus  `json:"status"`
	Instances []jsonCheckInstance `json:"instances"`
}

type jsonCheckAddr struct {
	Kind      config.CheckKind `json:"kind,omitempty"`
	Mode      string           `json:"mode,omitempty"`
	Type      string           `json:"type,omitempty"`
	Name      string           `json:"name,omitempty"`
	Module    string           `json:"module,omitempty"`
	Key       any              `json:"instance_key,omitempty"`
	ToDisplay string           `json:"to_display"`
}

type jsonCheckInstance struct {
	Address  jsonCheckAddr      `json:"address"`
	Status   config.CheckStatus `json:"status"`
	Problems []jsonProblem      `json:"problems,omitempty"`
}

type jsonProblem struct {
	Message string `json:"message"`
}

// toJSONChecks groups results, which are sorted, by block. The status of a block is the worst of its instances'.
func toJSONChecks(results []config.CheckResult) []jsonCheck {
	var list []jsonCheck
	var worst config.CheckResult
	for _, r := range results {
		block, instance := checkAddrs(r)
		if n := len(list); n == 0 || list[n-1].Address != block {
			list, worst = append(list, jsonCheck{Address: block}), config.CheckResult{Status: config.CheckPass}
		}
		worst.Add(r.Status, "")
		i := jsonCheckInstance{Address: instance, Status: r.Status}
		for _, p := range r.Problems {
			i.Problems = append(i.Problems, jsonProblem{p})
		}
		c := &list[len(list)-1]
		c.Status, c.Instances = worst.Status, append(c.Instances, i)
	}
	return list
}

// checkAddrs names what has the conditions, and the block that it is of.
func checkAddrs(r config.CheckResult) (block, instance jsonCheckAddr) {
	if r.Kind != config.CheckResource {
		of := config.CheckResult{Kind: r.Kind, Name: r.Name, Module: r.Module.Call()}
		return jsonCheckAddr{Kind: r.Kind, Name: r.Name, Module: string(of.Module), ToDisplay: of.ID()},
			jsonCheckAddr{Module: string(r.Module), ToDisplay: r.ID()}
	}
	b := r.Addr.Resource.Block()
	return jsonCheckAddr{Kind: r.Kind, Mode: mode(b), Type: b.Type, Name: b.Name, Module: string(b.Module), ToDisplay: b.String()},
		jsonCheckAddr{Module: string(r.Addr.Resource.Module), Key: index(r.Addr.Key), ToDisplay: r.Addr.String()}
}

func mode(r addr.Resource) string {
	if r.Mode == addr.Data {
		return "data"
	}
	return "managed"
}
