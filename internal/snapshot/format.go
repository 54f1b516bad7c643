package snapshot

import (
	"encoding/binary"
	"hash/fnv"
)

// The parts of a bbolt file that are needed here; integers are little endian.
const (
	pageSize       = 4096
	pageHeaderSize = 16
	elementSize    = 16 // of leaves and of branches

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	bucketElement    = 0x01 // flag of a leaf element that is a bucket
	bucketHeaderSize = 16   // root page and sequence number

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSize    = 64
	noFreelist  = 1<<64 - 1
	firstPage   = 2 // behind the two metas
)

// putPageHeader writes the header of a run of pages.
func putPageHeader(b []byte, id uint64, flags uint16, count int, pages uint64) {
	binary.LittleEndian.PutUint64(b, id)
	binary.LittleEndian.PutUint16(b[8:], flags)
	binary.LittleEndian.PutUint16(b[10:], uint16(count))
	binary.LittleEndian.PutUint32(b[12:], uint32(pages-1))
}

// putLeafElement writes the element at b, whose key begins pos bytes behind.
func putLeafElement(b []byte, flags uint32, pos, keySize, valueSize int) {
	binary.LittleEndian.PutUint32(b, flags)
	binary.LittleEndian.PutUint32(b[4:], uint32(pos))
	binary.LittleEndian.PutUint32(b[8:], uint32(keySize))
	binary.LittleEndian.PutUint32(b[12:], uint32(valueSize))
}

// putBranchElement writes the element at b, whose key begins pos bytes behind.
func putBranchElement(b []byte, pos, keySize int, page uint64) {
	binary.LittleEndian.PutUint32(b, uint32(pos))
	binary.LittleEndian.PutUint32(b[4:], uint32(keySize))
	binary.LittleEndian.PutUint64(b[8:], page)
}

// meta is what both meta pages of a file say.
type meta struct {
	pageSize uint32
	root     uint64 // page of the bucket of buckets
	freelist uint64
	high     uint64 // pages in the file
	txid     uint64
}

// put writes the meta behind its page's header.
func (m meta) put(b []byte) {
	binary.LittleEndian.PutUint32(b, metaMagic)
	binary.LittleEndian.PutUint32(b[4:], metaVersion)
	binary.LittleEndian.PutUint32(b[8:], m.pageSize)
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint64(b[16:], m.root)
	binary.LittleEndian.PutUint64(b[24:], 0)
	binary.LittleEndian.PutUint64(b[32:], m.freelist)
	binary.LittleEndian.PutUint64(b[40:], m.high)
	binary.LittleEndian.PutUint64(b[48:], m.txid)
	binary.LittleEndian.PutUint64(b[56:], metaSum(b))
}

// metaSum is the checksum of a meta.
func metaSum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b[:metaSize-8])
	return h.Sum64()
}
