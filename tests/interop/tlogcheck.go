// A stranger's reading of a log of tokens, by golang.org/x/mod/sumdb: the note's signature, the tree from its tiles,
// and that an entry is in it.
//
//	tlogcheck VERIFIER-KEY FOLDER ENTRY-HEX INDEX
package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type folder string

func (f folder) Height() int                                { return 8 }
func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		// Go writes the height into the path, which C2SP leaves out.
		data, err := os.ReadFile(filepath.Join(string(f), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	verifier, err := note.NewVerifier(os.Args[1])
	check(err)
	signed, err := os.ReadFile(filepath.Join(os.Args[2], "checkpoint"))
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	var tree tlog.Tree
	tree.N = size
	copy(tree.Hash[:], root)
	entry, err := hex.DecodeString(os.Args[3])
	check(err)
	index, err := strconv.ParseInt(os.Args[4], 10, 64)
	check(err)
	// The reader proves every tile to the root before it lets a hash out.
	reader := tlog.TileHashReader(tree, folder(os.Args[2]))
	proof, err := tlog.ProveRecord(size, index, reader)
	check(err)
	check(tlog.CheckRecord(proof, size, tree.Hash, index, tlog.RecordHash(entry)))
	fmt.Println("ok", lines[0], size)
}
