package orderbook

import (
	"bytes"
	"math/big"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// filter says whether a record is wanted.
type filter func(*record) bool

// query is what a list of orders of one kind may be filtered by.
type query struct {
	owner     string   // parameter with the signer
	required  bool     // the resource or its owner must be given
	restricts []string // parameters that allow a restriction: absent means unrestricted only
	exact     []string // parameters that a field equals
	category  bool
	minTrust  bool
	maxTrust  bool
	bulk      bool
}

func queryOf(k *poco.Kind) query {
	switch k {
	case poco.AppOrder:
		return query{owner: "appOwner", required: true, exact: []string{"app"}, restricts: []string{"dataset", "workerpool", "requester"}}
	case poco.DatasetOrder:
		return query{owner: "datasetOwner", required: true, exact: []string{"dataset"}, restricts: []string{"app", "workerpool", "requester"}, bulk: true}
	case poco.WorkerpoolOrder:
		return query{owner: "workerpoolOwner", exact: []string{"workerpool"}, restricts: []string{"app", "dataset", "requester"}, category: true, minTrust: true}
	default:
		return query{exact: []string{"requester", "app", "dataset", "beneficiary"}, restricts: []string{"workerpool"}, category: true, maxTrust: true}
	}
}

// restrictField is the field that a restrict parameter is about: datasetrestrict, but workerpool itself in a request.
func restrictField(k *poco.Kind, name string) string {
	if k == poco.RequestOrder {
		return name
	}
	return name + "restrict"
}

// list answers the open orders of a kind. It goes through one index, the narrowest that the parameters allow.
func (s *Server) list(k *poco.Kind, r *http.Request) (answer, error) {
	q := r.URL.Query()
	if err := s.checkChain(q); err != nil {
		return nil, err
	}
	index, filters, err := parseQuery(k, q)
	if err != nil {
		return nil, err
	}
	page, err := parsePage(q)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := s.book.open[index]
	if len(filters) > 0 {
		found = selectRecords(found, filters)
	}
	return pageAnswer("orders", found, page, func(r *record) []byte { return r.text }), nil
}

func selectRecords(records []*record, filters []filter) []*record {
	var out []*record
next:
	for _, r := range records {
		for _, f := range filters {
			if !f(r) {
				continue next
			}
		}
		out = append(out, r)
	}
	return out
}

func parseQuery(k *poco.Kind, q url.Values) (key, []filter, error) {
	spec := queryOf(k)
	index := key{kind: k}
	var filters []filter

	owner := ""
	if spec.owner != "" {
		var err error
		if owner, err = address(q, spec.owner); err != nil {
			return index, nil, err
		}
	}
	if owner != "" {
		index = key{k, "signer", owner}
	}
	for _, name := range spec.exact {
		value, err := addressOrAny(q, name)
		if err != nil {
			return index, nil, err
		}
		switch {
		case value == "" && name == k.Resource && spec.required && owner == "":
			return index, nil, badRequest("%s or %s is required", name, spec.owner)
		case value == "" || value == anyAddress:
		case index.field == "" && name != "beneficiary":
			index = key{k, name, value}
		default:
			filters = append(filters, func(r *record) bool { return r.order[name] == value })
		}
	}
	absent := 0
	for _, name := range spec.restricts {
		value, err := addressOrAny(q, name)
		if err != nil {
			return index, nil, err
		}
		strict, err := boolean(q, "is"+string(name[0]-'a'+'A')+name[1:]+"Strict")
		if err != nil {
			return index, nil, err
		}
		field := restrictField(k, name)
		switch value {
		case anyAddress:
		case "":
			absent++
			filters = append(filters, func(r *record) bool { return r.order[field] == zeroAddress })
		default:
			filters = append(filters, func(r *record) bool {
				return r.order[field] == value || !strict && r.order[field] == zeroAddress
			})
		}
	}

	if absent == len(spec.restricts) { // the usual question, by what is known beforehand
		filters = append(filters[:len(filters)-absent], func(r *record) bool { return r.unrestricted })
	}

	minTag, ok, err := bytes32(q, "minTag")
	if err != nil {
		return index, nil, err
	}
	if ok {
		filters = append(filters, func(r *record) bool { return containsBits(r.tag, minTag) })
	}
	maxTag, ok, err := bytes32(q, "maxTag")
	if err != nil {
		return index, nil, err
	}
	if ok {
		filters = append(filters, func(r *record) bool { return containsBits(maxTag, r.tag) })
	}
	minVolume, ok, err := number(q, "minVolume", 1, maxSafeInteger)
	if err != nil {
		return index, nil, err
	}
	if ok {
		filters = append(filters, func(r *record) bool { return r.remaining >= minVolume })
	}
	for _, bound := range []struct {
		on          bool
		name, field string
		holds       func(have, want uint64) bool
	}{
		{spec.category, "category", "category", func(have, want uint64) bool { return have == want }},
		{spec.minTrust, "minTrust", "trust", func(have, want uint64) bool { return have >= want }},
		{spec.maxTrust, "maxTrust", "trust", func(have, want uint64) bool { return have <= want }},
	} {
		if !bound.on {
			continue
		}
		want, ok, err := number(q, bound.name, 0, maxSafeInteger)
		if err != nil {
			return index, nil, err
		}
		if ok {
			filters = append(filters, func(r *record) bool {
				have, _ := strconv.ParseUint(r.order[bound.field], 10, 64)
				return bound.holds(have, want)
			})
		}
	}
	if spec.bulk {
		bulk, err := boolean(q, "bulkOnly")
		if err != nil {
			return index, nil, err
		}
		if bulk {
			filters = append(filters, func(r *record) bool { return bytes.HasSuffix(r.text, []byte(`"bulk":true}`)) })
		}
	}
	return index, filters, nil
}

func containsBits(all, some common.Hash) bool {
	for i := range some {
		if some[i]&^all[i] != 0 {
			return false
		}
	}
	return true
}

// pageAnswer writes one page of a list; nextPage is there if and only if the page is full.
func pageAnswer[T any](name string, all []T, p page, text func(T) []byte) answer {
	skip := min(p.skip, len(all))
	rows := all[skip:min(skip+p.size, len(all))]
	out := append(appendString([]byte(`{"ok":true,`), name), ":["...)
	for i, row := range rows {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, text(row)...)
	}
	out = append(out, `],"count":`...)
	out = strconv.AppendInt(out, int64(len(all)), 10)
	if len(rows) == p.size {
		out = append(out, `,"nextPage":`...)
		out = strconv.AppendInt(out, int64(p.skip+len(rows)), 10)
	}
	return append(out, '}')
}

// getDeals answers the deals, newest block first.
func (s *Server) getDeals(r *http.Request) (answer, error) {
	q := r.URL.Query()
	if err := s.checkChain(q); err != nil {
		return nil, err
	}
	var filters []func(*deal) bool
	for name, of := range map[string]func(*deal) common.Address{
		"app":             func(d *deal) common.Address { return d.App.Pointer.Address },
		"dataset":         func(d *deal) common.Address { return d.Dataset.Pointer.Address },
		"workerpool":      func(d *deal) common.Address { return d.Workerpool.Pointer.Address },
		"appOwner":        func(d *deal) common.Address { return d.App.Owner.Address },
		"datasetOwner":    func(d *deal) common.Address { return d.Dataset.Owner.Address },
		"workerpoolOwner": func(d *deal) common.Address { return d.Workerpool.Owner.Address },
		"requester":       func(d *deal) common.Address { return d.Requester.Address },
		"beneficiary":     func(d *deal) common.Address { return d.Beneficiary.Address },
	} {
		value, err := address(q, name)
		if err != nil {
			return nil, err
		}
		if want := common.HexToAddress(value); value != "" {
			filters = append(filters, func(d *deal) bool { return of(d) == want })
		}
	}
	for name, of := range map[string]func(*deal) common.Hash{
		"apporderHash":        func(d *deal) common.Hash { return d.AppHash },
		"datasetorderHash":    func(d *deal) common.Hash { return d.DatasetHash },
		"workerpoolorderHash": func(d *deal) common.Hash { return d.WorkerpoolHash },
		"requestorderHash":    func(d *deal) common.Hash { return d.RequestHash },
	} {
		want, ok, err := bytes32(q, name)
		if err != nil {
			return nil, err
		}
		if ok {
			filters = append(filters, func(d *deal) bool { return of(d) == want })
		}
	}
	category, ok, err := number(q, "category", 0, maxSafeInteger)
	if err != nil {
		return nil, err
	}
	if ok {
		filters = append(filters, func(d *deal) bool { return d.Category.Cmp(new(big.Int).SetUint64(category)) == 0 })
	}
	page, err := parsePage(q)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []*deal
next:
	for i := len(s.book.deals) - 1; i >= 0; i-- {
		for _, f := range filters {
			if !f(s.book.deals[i]) {
				continue next
			}
		}
		found = append(found, s.book.deals[i])
	}
	return pageAnswer("deals", found, page, func(d *deal) []byte { return []byte(show(d)) }), nil
}

func (s *Server) getDeal(r *http.Request) (answer, error) {
	if err := s.checkChain(r.URL.Query()); err != nil {
		return nil, err
	}
	id, ok := parseBytes32(r.PathValue("id"))
	if !ok {
		return nil, badRequest("dealid must be a bytes32 hexstring")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.book.dealsByID[id]
	if d == nil {
		return nil, notFound("deal not found")
	}
	return append([]byte(`{"ok":true,`), show(d)[1:]...), nil
}
