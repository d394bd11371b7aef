package config

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Parsing native syntax. A long file is parsed in pieces, on all processors; should one of them not stand for itself, because
// it ends within a heredoc or has a mistake, the file is parsed as one. HCL's parser is recursive, so text that is nested too
// deeply is refused before it gets there: see nesting.go.

const pieceSize = 16 << 10 // bytes of source, at least

// parseNative parses a file. The result is never nil; with errors it is what could be understood.
func parseNative(src []byte, path string) (*hcl.File, hcl.Diagnostics) {
	body, ok := parsePieces(src, path)
	if !ok {
		if diags := tooNestedConfig(src, path); diags.HasErrors() {
			return &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}, diags
		}
		file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
		if file == nil {
			file = &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}
		}
		return file, diags
	}
	return &hcl.File{Bytes: src, Body: body, Nav: navigation{body}}, nil
}

// piece is a part of a file that consists of whole blocks.
type piece struct {
	src   []byte
	start hcl.Pos
	body  *hclsyntax.Body
	ok    bool
}

// parsePieces parses a file of several pieces without mistakes. Where all pieces are valid on their own their borders are
// borders of blocks, because no token crosses them.
func parsePieces(src []byte, path string) (*hclsyntax.Body, bool) {
	pieces := cut(src)
	if len(pieces) < 2 {
		return nil, false
	}
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(pieces))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(pieces); i += workers {
				pieces[i].parse(path)
			}
		})
	}
	wg.Wait()
	whole := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}}
	for i := range pieces {
		if !pieces[i].ok {
			return nil, false
		}
		whole.Blocks = append(whole.Blocks, pieces[i].body.Blocks...)
	}
	last := pieces[len(pieces)-1].body
	whole.SrcRange, whole.EndRange = hcl.RangeBetween(pieces[0].body.SrcRange, last.SrcRange), last.EndRange
	return whole, true
}

func (p *piece) parse(path string) {
	if tooNestedConfig(p.src, path).HasErrors() {
		return
	}
	file, diags := hclsyntax.ParseConfig(p.src, path, p.start)
	if len(diags) > 0 || file == nil {
		return
	}
	p.body = file.Body.(*hclsyntax.Body)
	p.ok = len(p.body.Attributes) == 0
}

var blockEnd = []byte("\n}\n")

// cut divides a file behind lines that close a block.
func cut(src []byte) (pieces []piece) {
	start := hcl.InitialPos
	for len(src) > 0 {
		end := len(src)
		if len(src) > pieceSize {
			if at := bytes.Index(src[pieceSize:], blockEnd); at >= 0 {
				end = pieceSize + at + len(blockEnd)
			}
		}
		pieces = append(pieces, piece{src: src[:end], start: start})
		start.Line += bytes.Count(src[:end], []byte("\n"))
		start.Byte += end
		src = src[end:]
	}
	return pieces
}

// navigation tells which block an offset is in: see hcl.File.Nav.
type navigation struct{ root *hclsyntax.Body }

// ContextString is the header of the block at the offset, or "".
func (n navigation) ContextString(offset int) string {
	for _, b := range n.root.Blocks {
		if r := b.Range(); r.Start.Byte <= offset && offset < r.End.Byte {
			text := b.Type
			for _, label := range b.Labels {
				text += fmt.Sprintf(" %q", label)
			}
			return text
		}
	}
	return ""
}
