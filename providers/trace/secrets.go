package trace

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// Secrets is what of a service's URL must not be printed, because it may be an access key: the parts of its path, the values
// of its query, its user and password.
type Secrets []string

// SecretsOf collects them. Parts of less than six characters are taken for ordinary words, such as "v3".
func SecretsOf(u *url.URL) (secrets Secrets) {
	add := func(texts ...string) {
		for _, s := range texts {
			if len(s) >= 6 && !slices.Contains(secrets, s) {
				secrets = append(secrets, s)
			}
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		add(base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)), u.User.Username(), password)
		add(strings.Split(u.User.String(), ":")...)
	}
	add(strings.Split(u.EscapedPath(), "/")...)
	add(strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		for _, v := range values {
			add(v, url.QueryEscape(v))
		}
	}
	return secrets
}

// Hide takes the secrets out of a text.
func (s Secrets) Hide(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return text
}
