// Package s3 keeps states in a bucket of S3, or of a server that has its conditional writes (If-None-Match and If-Match).
//
// Objects, of a state with the key K:
//   - K, the snapshot. It is only ever replaced when it is the one that was read (If-Match). Before there is a snapshot it may be
//     blank. Blank lines at its end tell apart copies of the same snapshot: see fence.
//   - K.journal/SERIAL-NUMBER, the pieces of the journal that continues the snapshot with the serial, numbered from 0. A number is
//     only ever given once (If-None-Match), so whoever writes it knows all before it. A piece says on its first line whether it
//     begins the journal anew, continues it, or only takes the number. The last one stays until there is another snapshot.
//   - K.lock, who has the lock, since when, and for how long without a sign of life. It is only ever replaced when it is the one
//     that was read. It stays when the lock is free.
//
// What holds:
//   - A write is durable when it returns, as S3 has it. One that returns an error may be there or not; nothing follows it.
//   - A snapshot is replaced in four steps: a piece takes the next number, so that nobody can append any more; the first piece of
//     the new journal is put, with the notes that go on; the snapshot is put; the old pieces go. Pieces of older snapshots
//     count for nothing, however late they come, and neither does the first piece of one that was never put.
//   - An append looks, after it has put its piece, whether the snapshot is still the one that it continues: it isn't when
//     another replaced it and removed the pieces.
//   - Whoever takes over a lock whose time is over, or breaks one, changes the snapshot's blank lines and takes the next number.
//     From then on, each write of the former holder is refused by the server, at whatever point it was paused.
//   - The time of a lock is measured by the server's clock.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// Options is which bucket and how it is reached. Credentials come from where the AWS tools find them.
type Options struct {
	Bucket    string
	Key       string // of the default workspace's snapshot
	Region    string // "" is that of the environment or the profile
	Endpoint  string // URL of another server; "" is AWS
	PathStyle bool   // the bucket is in the path, and not in the host's name
	Profile   string // "" is the default one
	TTL       time.Duration
	Codec     *state.Codec // nil: in the clear
}

// Backend is a state.Backend in a bucket.
type Backend struct {
	o      Options
	client *s3.Client
}

var _ state.Backend = (*Backend)(nil)

// attempts is how often a request is made at most.
const attempts = 6

// Open returns the backend. It is reached when something is asked of it.
func Open(ctx context.Context, o Options) (*Backend, error) {
	if o.TTL <= 0 {
		o.TTL = remote.DefaultTTL
	}
	options := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return retry.AddWithMaxAttempts(retry.NewStandard(), attempts) }),
		config.WithSharedConfigProfile(o.Profile),
		config.WithLogger(logging.Nop{}),
	}
	if o.Region != "" {
		options = append(options, config.WithRegion(o.Region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("settings of AWS: %w", err)
	}
	if c.Region == "" {
		if o.Endpoint == "" {
			return nil, errors.New("the region of the bucket isn't known: set region in the backend block, or AWS_REGION")
		}
		c.Region = "us-east-1" // other servers don't care
	}
	client := s3.NewFromConfig(c, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			so.BaseEndpoint = &o.Endpoint
		}
	})
	return &Backend{o, client}, nil
}

// workspacesDir is what the keys of workspaces have between the directory and the name of the default one's key.
const workspacesDir = "iexecform.state.d"

func (b *Backend) key(workspace string) string {
	if workspace == state.DefaultWorkspace {
		return b.o.Key
	}
	dir, base := path.Split(b.o.Key)
	return dir + workspacesDir + "/" + workspace + "/" + base
}

// Store implements state.Backend.
func (b *Backend) Store(workspace string) state.Store {
	return remote.New(&medium{Backend: b, key: b.key(workspace)}, b.o.Codec, b.o.TTL)
}

// Workspaces implements state.Backend.
func (b *Backend) Workspaces(ctx context.Context) ([]string, error) {
	names := []string{state.DefaultWorkspace}
	dir, base := path.Split(b.o.Key)
	prefix := dir + workspacesDir + "/"
	keys, err := b.list(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	for _, key := range keys {
		if name, rest, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/"); rest == base {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Has implements state.Backend.
func (b *Backend) Has(ctx context.Context, workspace string) (bool, error) {
	if workspace == state.DefaultWorkspace {
		return true, nil
	}
	etag, err := b.etag(ctx, b.key(workspace))
	if err != nil {
		return false, fmt.Errorf("look for workspace %s: %w", workspace, err)
	}
	return etag != "", nil
}

// Create implements state.Backend.
func (b *Backend) Create(ctx context.Context, workspace string) error {
	_, err := b.put(ctx, b.key(workspace), blank, "", nil)
	if err != nil && !errors.Is(err, errOther) {
		return fmt.Errorf("make workspace %s: %w", workspace, err)
	}
	return nil
}

// Delete implements state.Backend.
func (b *Backend) Delete(ctx context.Context, workspace string) error {
	key := b.key(workspace)
	pieces, err := b.list(ctx, key+journalSuffix)
	if err == nil {
		err = b.remove(ctx, append(pieces, key, key+lockSuffix))
	}
	if err != nil {
		return fmt.Errorf("delete workspace %s: %w", workspace, err)
	}
	return nil
}

// blank is the content of a snapshot's object while there is no snapshot.
var blank = []byte("\n")

// errOther means that the object is not the one that a write was to replace.
var errOther = errors.New("there is another object")

// object is an object as read.
type object struct {
	body     []byte
	etag     string
	age      time.Duration // by the server's clock, in whole seconds
	metadata map[string]string
}

// get reads an object. It returns nil when there is none.
func (b *Backend) get(ctx context.Context, key string) (*object, error) {
	var missing *types.NoSuchKey
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.o.Bucket, Key: &key})
	if errors.As(err, &missing) || status(err) == http.StatusNotFound && !noBucket(err) {
		return nil, nil
	}
	if err != nil {
		return nil, b.explained(err)
	}
	defer func() { _ = out.Body.Close() }()
	body, err := readAll(out.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, wording.OfExchange(err))
	}
	o := &object{body: body, etag: aws.ToString(out.ETag), metadata: out.Metadata}
	if out.LastModified != nil {
		if now, ok := serverTime(out.ResultMetadata); ok {
			o.age = now.Sub(*out.LastModified)
		}
	}
	return o, nil
}

// etag returns an object's ETag, "" when there is none.
func (b *Backend) etag(ctx context.Context, key string) (string, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.o.Bucket, Key: &key})
	if status(err) == http.StatusNotFound {
		return "", nil
	}
	if err != nil {
		return "", b.explained(err)
	}
	return aws.ToString(out.ETag), nil
}

// put writes an object in place of the one with the ETag, "" for none, and returns its own. errOther means that nothing
// was written. A request whose answer was lost is made again; then the metadata, which is unique, tells whether it was
// done.
func (b *Backend) put(ctx context.Context, key string, body []byte, replaces string, metadata map[string]string) (string, error) {
	if metadata == nil {
		metadata = unique()
	}
	in := &s3.PutObjectInput{Bucket: &b.o.Bucket, Key: &key, Body: bytes.NewReader(body), Metadata: metadata}
	if replaces == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &replaces
	}
	for try := 1; ; try++ {
		out, err := b.client.PutObject(ctx, in)
		switch code := status(err); {
		case err == nil:
			return aws.ToString(out.ETag), nil
		case code == http.StatusConflict && try < attempts: // another conditional write was under way
			in.Body = bytes.NewReader(body)
			continue
		case code == http.StatusPreconditionFailed, code == http.StatusConflict, code == http.StatusNotFound && replaces != "" && !noBucket(err):
			head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.o.Bucket, Key: &key})
			if err == nil && head.Metadata[writer] == metadata[writer] {
				return aws.ToString(head.ETag), nil
			}
			return "", errOther
		default:
			return "", b.explained(err)
		}
	}
}

// list returns the keys with a prefix, sorted.
func (b *Backend) list(ctx context.Context, prefix string) (keys []string, err error) {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.o.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.explained(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// remove deletes objects.
func (b *Backend) remove(ctx context.Context, keys []string) error {
	for batch := range slices.Chunk(keys, 1000) {
		ids := make([]types.ObjectIdentifier, len(batch))
		for i := range batch {
			ids[i].Key = &batch[i]
		}
		out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b.o.Bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
		if err != nil {
			return b.explained(err)
		}
		if len(out.Errors) > 0 {
			return fmt.Errorf("delete %s: %s", aws.ToString(out.Errors[0].Key), aws.ToString(out.Errors[0].Message))
		}
	}
	return nil
}

// status is the HTTP status of an error, or 0.
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func noBucket(err error) bool {
	var missing *types.NoSuchBucket
	return errors.As(err, &missing)
}

// explained says what to do about an error.
func (b *Backend) explained(err error) error {
	switch {
	case err == nil:
		return nil
	case noBucket(err):
		return fmt.Errorf("there is no bucket %q: make it, or correct the backend block", b.o.Bucket)
	case status(err) == http.StatusForbidden, status(err) == http.StatusUnauthorized:
		return fmt.Errorf("the bucket %q refuses the credentials, which need to list the bucket and to get, put and delete objects: %w", b.o.Bucket, err)
	case status(err) == http.StatusNotImplemented:
		return fmt.Errorf("the server of the bucket %q has no conditional writes (If-Match, If-None-Match), without which several runs can't be kept apart: use another one: %w", b.o.Bucket, err)
	}
	return err
}
