// Package modules keeps the modules of a configuration that are not local: it fetches them from git repositories and OCI
// registries, and tells where their files are. Policies: a source names a commit, a tag or a digest, never a branch; what a
// name stood for when it was first fetched, and the digest of the files, are in the lock file, which belongs in the
// repository; only Install fetches, all else verifies; git is the user's own program, so that its credentials, proxies and
// certificates are the user's, too; an archive is unpacked within its directory, up to a size, and without links.
package modules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// source is where a module comes from.
type source struct {
	key     string // what is fetched as one: without the directory in it
	address string // of the repository, for its client
	ref     string // commit, tag or digest
	subdir  string // the module's directory in what is fetched
	fetcher fetcher
}

const forms = `git::https://HOST/REPOSITORY.git//DIR?ref=TAG and oci://REGISTRY/REPOSITORY:TAG//DIR; a directory begins with ./ or ../`

var refForm = regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z_./+-]*$`)

// parse reads the source and version of a module block.
func parse(text, version string) (source, error) {
	scheme, rest, ok := strings.Cut(text, "::")
	s := source{fetcher: git{most: maxRepository}}
	switch {
	case ok && scheme == "git":
		var query string
		rest, query, _ = strings.Cut(rest, "?")
		s.address, s.subdir = cutSubdir(rest)
		if query != "" {
			name, value, _ := strings.Cut(query, "=")
			if name != "ref" || strings.Contains(value, "&") {
				return s, fmt.Errorf("%s: the only parameter of a git source is ref, a tag or a commit", text)
			}
			s.ref = value
		}
		if !strings.Contains(s.address, "://") || strings.HasPrefix(s.address, "-") {
			return s, fmt.Errorf("%s is not a git source. The forms are %s", text, forms)
		}
		if err := checkURL(s.address); err != nil {
			return s, err
		}
	case strings.HasPrefix(text, ociScheme):
		s.fetcher = artifacts{}
		s.address, s.subdir = cutSubdir(text)
		s.address = strings.TrimPrefix(s.address, ociScheme)
		if name, digest, ok := strings.Cut(s.address, "@"); ok {
			s.address, s.ref = name, digest
		} else if i := strings.LastIndex(s.address, ":"); i > strings.LastIndex(s.address, "/") {
			s.address, s.ref = s.address[:i], s.address[i+1:]
		}
	default:
		return s, fmt.Errorf("%s is no module source. The forms are %s", text, forms)
	}
	switch {
	case s.ref != "" && version != "":
		return s, fmt.Errorf("%s names %s, and version says %s. Keep one of them", text, s.ref, version)
	case s.ref == "":
		s.ref = version
	}
	if s.ref == "" {
		return s, fmt.Errorf("%s names no version: what is fetched would change from day to day. Add version, a tag or a commit", text)
	}
	if !refForm.MatchString(strings.Replace(s.ref, "sha256:", "", 1)) || strings.Contains(s.ref, "..") {
		return s, fmt.Errorf("%q is not a tag, a commit or a digest", s.ref)
	}
	if s.subdir != "" && !filepath.IsLocal(filepath.FromSlash(s.subdir)) {
		return s, fmt.Errorf("%s leads out of what is fetched", text)
	}
	s.key = s.fetcher.name(s)
	return s, nil
}

// checkURL refuses the URL of a repository that has a secret in it, or is neither encrypted nor authenticated.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("the source is not a URL") // it is not told: there may be a password in it
	}
	_, password := u.User.Password()
	ip := net.ParseIP(u.Hostname())
	switch {
	case password, u.User != nil && u.Scheme != "ssh":
		return fmt.Errorf("the source at %s has a user or a password in its URL, which would be in the lock file and in logs. "+
			"Leave it out: git asks its credential helper", u.Host)
	case (u.Scheme == "http" || u.Scheme == "git") && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()):
		return fmt.Errorf("%s:// is neither encrypted nor authenticated: anybody on the way to %s could put in a module of theirs. Use https:// or ssh://", u.Scheme, u.Host)
	}
	return nil
}

const ociScheme = "oci://"

// cutSubdir splits at the // that is not that of ://
func cutSubdir(text string) (address, subdir string) {
	start := 0
	if i := strings.Index(text, "://"); i >= 0 {
		start = i + len("://")
	}
	at, subdir, _ := strings.Cut(text[start:], "//")
	return text[:start] + at, strings.Trim(subdir, "/")
}

// folder is the name of the directory that is made for the source.
func (s source) folder() string {
	sum := sha256.Sum256([]byte(s.key))
	base := s.address[strings.LastIndex(s.address, "/")+1:]
	base = regexp.MustCompile(`[^0-9A-Za-z_-]+`).ReplaceAllString(strings.TrimSuffix(base, ".git"), "-")
	return base + "-" + hex.EncodeToString(sum[:6])
}
