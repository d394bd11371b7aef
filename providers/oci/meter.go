package oci

import (
	"io"
	"maps"
	"net/http"
	"path"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A meter is the transport of one push, and tells how far it is. Policy: what counts is what is read to be sent, and what the
// registry says it has; an upload that fails counts as nothing. The library's own count is not used: it ends with the push, while
// a connection that broke may still be reading.
type meter struct {
	http.RoundTripper
	tell func(complete, total int64) // bytes; one call at a time

	mu              sync.Mutex
	sizes           map[string]int64 // of the blobs that aren't there yet, as far as it is known, by digest
	complete, total int64
}

// newMeter measures the push of content.
func newMeter(base http.RoundTripper, what content, tell func(complete, total int64)) (*meter, error) {
	m := &meter{RoundTripper: base, tell: tell, sizes: map[string]int64{}}
	if err := addSizes(m.sizes, what); err != nil {
		return nil, err
	}
	for size := range maps.Values(m.sizes) {
		m.total += size
	}
	return m, nil
}

// addSizes adds the sizes of the blobs that content consists of, by digest.
func addSizes(sizes map[string]int64, what content) error {
	switch what := what.(type) {
	case v1.Image:
		manifest, err := what.Manifest()
		if err != nil {
			return err
		}
		for _, blob := range append(manifest.Layers, manifest.Config) {
			sizes[blob.Digest.String()] = blob.Size
		}
	case v1.ImageIndex:
		manifest, err := what.IndexManifest()
		if err != nil {
			return err
		}
		for _, m := range manifest.Manifests {
			var child content
			switch {
			case m.MediaType.IsIndex():
				child, err = what.ImageIndex(m.Digest)
			case m.MediaType.IsImage():
				child, err = what.Image(m.Digest)
			default:
				sizes[m.Digest.String()] = m.Size
				continue
			}
			if err == nil {
				err = addSizes(sizes, child)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPatch && req.Body != nil {
		return m.upload(req)
	}
	res, err := m.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	switch dir, last := path.Split(req.URL.Path); {
	case req.Method == http.MethodHead && res.StatusCode == http.StatusOK && strings.HasSuffix(dir, "/blobs/"):
		m.there(last)
	case req.Method == http.MethodPost && res.StatusCode == http.StatusCreated:
		m.there(req.URL.Query().Get("mount"))
	}
	return res, nil
}

// there is told of a blob that the registry has.
func (m *meter) there(digest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(m.sizes[digest])
	delete(m.sizes, digest)
}

// add must be called with the lock held.
func (m *meter) add(n int64) {
	m.complete += n
	m.tell(m.complete, m.total)
}

func (m *meter) upload(req *http.Request) (*http.Response, error) {
	u := &upload{meter: m}
	measured := req.Clone(req.Context())
	measured.Body = u.begin(req.Body)
	if req.GetBody != nil {
		measured.GetBody = func() (io.ReadCloser, error) {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			return u.begin(body), nil
		}
	}
	res, err := m.RoundTripper.RoundTrip(measured)
	if err != nil || res.StatusCode >= http.StatusMultipleChoices {
		u.begin(nil)
	}
	return res, err
}

// An upload is one request, whose body the transport may begin anew.
type upload struct {
	meter *meter
	body  *metered // what is read now: others don't count any more
	sent  int64    // of it
}

// begin takes back what was counted, and counts this body from here on; nil ends the counting.
func (u *upload) begin(body io.ReadCloser) *metered {
	u.meter.mu.Lock()
	defer u.meter.mu.Unlock()
	if u.sent > 0 {
		u.meter.add(-u.sent)
	}
	u.body, u.sent = &metered{body, u}, 0
	return u.body
}

// metered is a body whose reading is counted.
type metered struct {
	io.ReadCloser
	upload *upload
}

func (r *metered) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	u := r.upload
	u.meter.mu.Lock()
	defer u.meter.mu.Unlock()
	if u.body == r && n > 0 {
		u.sent += int64(n)
		u.meter.add(int64(n))
	}
	return n, err
}
