package backends

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/pg"
	"github.com/iexecform/iexecform/state/s3"
)

func localTable() *schema.Table {
	return &schema.Table{
		Type: Local,
		Doc: "Keeps the state in a file beside the configuration, made to be committed to git. It is what is used where no backend block is.\n\n" +
			"The lock belongs to the process: the system ends it with the process, on this machine. What is appended to the journal is on disk before anything is sent.",
		Example: "iexecform {\n  backend \"local\" {\n    path = \"states/shop.json\"\n  }\n}\n",
		Attrs: []schema.Attr{{
			Name: "path", Type: cty.String, Form: "file", Mode: schema.Optional, Default: cty.StringVal(local.SnapshotFile),
			Doc: "The file of the default workspace, which ends in `.json`; those of others are in `" + local.WorkspacesDir + "` beside it.",
			Parse: func(v cty.Value) (cty.Value, error) {
				if !strings.HasSuffix(v.AsString(), ".json") {
					return v, errors.New("the name of the file must end in .json")
				}
				return v, nil
			},
		}},
	}
}

func openLocal(_ context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return local.NewBackend(s.file("path"), codec), nil
}

func pgTable() *schema.Table {
	return &schema.Table{
		Type: "pg",
		Doc: "Keeps the state in PostgreSQL, version 14 or later. `iexecform init` makes the schema and its two tables.\n\n" +
			"Every write is one transaction that is refused when anybody else has written. The lock is an advisory lock of a connection of its own: it ends with the process, " +
			"and the server ends it when its holder gives no sign of life. Through a pooler, connections must be in session mode.\n\n" +
			"A password comes from PGPASSWORD, PGPASSFILE or a service file, as for psql.",
		Example: "iexecform {\n  backend \"pg\" {\n    conn_str    = \"postgres://iexecform@db.example.com/states?sslmode=verify-full\"\n    schema_name = \"shop\"\n  }\n}\n",
		Attrs: []schema.Attr{
			{Name: "conn_str", Type: cty.String, Form: "URL or keywords", Mode: schema.Optional, Default: cty.StringVal(""), Parse: withoutPassword,
				Doc: "How the database is reached, as for psql, without a password. What it leaves out comes from PGHOST, PGPORT, PGDATABASE, PGUSER, PGSSLMODE and so on."},
			{Name: "schema_name", Type: cty.String, Mode: schema.Optional, Default: cty.StringVal(pg.DefaultSchema), Doc: "The schema of the tables. Projects that share a database need one each."},
			ttl(" The server keeps it, as `idle_session_timeout`."),
		},
	}
}

// passwordKeyword is a password in a connection string of keywords.
var passwordKeyword = regexp.MustCompile(`(^|\s)(ssl)?password\s*=`)

// withoutPassword refuses a connection string that has a password.
func withoutPassword(v cty.Value) (cty.Value, error) {
	text := v.AsString()
	has := passwordKeyword.MatchString(text)
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return v, errors.New("it is no URL such as postgres://user@host/database")
		}
		_, has = u.User.Password()
		has = has || u.Query().Has("password") || u.Query().Has("sslpassword")
	}
	if has {
		return v, errors.New("it has a password, which would be kept in a file: leave it out and set PGPASSWORD")
	}
	return v, nil
}

func openPG(ctx context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return pg.Open(ctx, pg.Options{ConnString: s.text("conn_str"), Schema: s.text("schema_name"), TTL: s.duration("lock_ttl"), Codec: codec})
}

func s3Table() *schema.Table {
	return &schema.Table{
		Type: "s3",
		Doc: "Keeps the state in a bucket of S3, or of a server that has its conditional writes (`If-None-Match` and `If-Match` of PUT); the Versity S3 Gateway is what it is tested with.\n\n" +
			"The snapshot is an object, each append to the journal another one, and the lock a third. Every write is refused by the server when anybody else has written. " +
			"The lock ends when its holder gives no sign of life, by the server's clock.\n\n" +
			"Credentials come from where the AWS tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role. They need to list the bucket, and to get, put and delete objects.",
		Example: "iexecform {\n  backend \"s3\" {\n    bucket = \"example-states\"\n    key    = \"shop/iexecform.state.json\"\n    region = \"eu-west-3\"\n  }\n}\n",
		Attrs: []schema.Attr{
			{Name: "bucket", Type: cty.String, Mode: schema.Required, Doc: "The bucket, which exists."},
			{Name: "key", Type: cty.String, Mode: schema.Required, Doc: "The object of the default workspace; those of others are in `iexecform.state.d/NAME/` beside it."},
			{Name: "region", Type: cty.String, Mode: schema.Optional, Doc: "The bucket's region; else that of AWS_REGION or the profile."},
			{Name: "endpoint", Type: cty.String, Form: "URL", Mode: schema.Optional, Parse: parseURL, Doc: "The URL of another server than AWS."},
			{Name: "use_path_style", Type: cty.Bool, Mode: schema.Optional, Default: cty.False, Doc: "Whether the bucket is named in the path instead of the host, as many servers want it."},
			{Name: "profile", Type: cty.String, Mode: schema.Optional, Doc: "The profile of the AWS tools."},
			ttl(" One second is added, because objects tell their age in whole seconds."),
		},
	}
}

// parseURL refuses what is no URL of a server, and one that has a password.
func parseURL(v cty.Value) (cty.Value, error) {
	u, err := url.Parse(v.AsString())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return v, errors.New("want a URL such as https://example.com/…")
	}
	if u.User != nil {
		return v, errors.New("it has credentials, which would be kept in a file: leave them out")
	}
	return v, nil
}

func openS3(ctx context.Context, s settings, codec *state.Codec) (state.Backend, error) {
	return s3.Open(ctx, s3.Options{
		Bucket: s.text("bucket"), Key: s.text("key"), Region: s.text("region"), Endpoint: s.text("endpoint"), Profile: s.text("profile"),
		PathStyle: s.values["use_path_style"].True(), TTL: s.duration("lock_ttl"), Codec: codec,
	})
}
