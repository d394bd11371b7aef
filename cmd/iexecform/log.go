package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers/trace"
)

// The log is for those who look for a fault: IEXECFORM_LOG is its level (trace, debug, info, warn, error; json is trace, as JSON
// lines; nothing is logged without it), IEXECFORM_LOG_PATH a file to append it to instead of standard error. What is secret is not logged at any
// level: see package trace.
const (
	envLog     = "IEXECFORM_LOG"
	envLogPath = "IEXECFORM_LOG_PATH"
)

var logLevels = map[string]slog.Level{
	"trace": trace.Level, "json": trace.Level, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// logged returns a context with the logger that the environment asks for. close must be called. SIDE EFFECTS: makes the
// log's file.
func (a *app) logged(ctx context.Context) (_ context.Context, close func(), err error) {
	text := a.getenv(envLog)
	if text == "" || strings.EqualFold(text, "off") {
		return ctx, func() {}, nil
	}
	level, ok := logLevels[strings.ToLower(text)]
	if !ok {
		return ctx, nil, fmt.Errorf("%s is %q: want trace, debug, info, warn, error, json or off", envLog, text)
	}
	out := a.streams.Err
	close = func() {}
	if path := a.getenv(envLogPath); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return ctx, nil, fmt.Errorf("open the log that %s names: %w", envLogPath, err)
		}
		out, close = file, func() { _ = file.Close() } // nothing depends on the log
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
		if attr.Key == slog.LevelKey && attr.Value.Any() == trace.Level {
			attr.Value = slog.StringValue("TRACE")
		}
		if attr.Value.Kind() == slog.KindDuration {
			attr = slog.Float64(attr.Key+"_ms", float64(attr.Value.Duration().Microseconds())/1000)
		}
		return attr
	}}
	var handler slog.Handler = slog.NewTextHandler(out, options)
	if strings.EqualFold(text, "json") {
		handler = slog.NewJSONHandler(out, options)
	}
	return trace.With(ctx, slog.New(handler)), close, nil
}

// logEvent logs what happens to an action; at its start, for those who trace, with its payload.
func logEvent(ctx context.Context, e apply.Event) {
	log := trace.From(ctx)
	if e.Action == nil || !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	facts := []slog.Attr{
		slog.String("type", string(e.Type)), slog.Int("action", e.Action.ID), slog.String("kind", e.Action.Kind), slog.String("addr", e.Action.Addr.String()),
	}
	level := slog.LevelInfo
	switch {
	case e.Err != nil:
		level = slog.LevelError
		facts = append(facts, slog.String("error", e.Err.Error()))
	case e.Progress != nil:
		level = slog.LevelDebug
		facts = append(facts, slog.String("progress", e.Progress.Message))
	case e.Type == apply.Started && log.Enabled(ctx, trace.Level):
		facts = append(facts, slog.String("payload", string(e.Action.Payload)))
	}
	log.LogAttrs(ctx, level, "action", facts...)
}
