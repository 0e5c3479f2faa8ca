package etcdkv

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ZapLogger returns a logger for etcd's code that writes to the given one. etcd is talkative, and some
// of its errors are none (each first start reports one): what is no error is of use only when debugging etcd, and an error
// is information. What ends etcd is an error here, too. fatal, when not nil, is called with the
// message of a Fatal or Panic log entry, instead of ending the process.
func ZapLogger(logger *slog.Logger, fatal zapcore.CheckWriteHook) *zap.Logger {
	var opts []zap.Option
	if fatal != nil {
		opts = append(opts, zap.WithFatalHook(fatal), zap.WithPanicHook(fatal))
	}
	return zap.New(&slogCore{handler: logger.Handler()}, opts...)
}

// slogCore is a zapcore.Core that passes entries on to an slog.Handler.
type slogCore struct{ handler slog.Handler }

func level(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug - 4
	case l <= zapcore.WarnLevel:
		return slog.LevelDebug
	case l == zapcore.ErrorLevel:
		return slog.LevelInfo
	}
	return slog.LevelError
}

func (c *slogCore) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), level(l))
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{handler: c.handler.WithAttrs(attrs(fields))}
}

func (c *slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, level(e.Level), "etcd: "+e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for k, v := range enc.Fields {
			out = append(out, slog.Any(k, v))
		}
	}
	return out
}
