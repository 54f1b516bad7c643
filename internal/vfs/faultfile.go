package vfs

// faultFile is an open file of a Faults.
type faultFile struct {
	File
	fs   *Faults
	path string
	dir  bool
}

func (f *faultFile) Read(p []byte) (int, error) {
	if err := f.fs.check(OpRead, f.path); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.check(OpRead, f.path); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Write(p []byte) (int, error) {
	return f.write(p, f.File.Write)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *faultFile) write(p []byte, write func([]byte) (int, error)) (int, error) {
	allowed, fault := f.fs.write(f.path, len(p))
	if allowed == 0 && fault != nil {
		return 0, fault
	}
	n, err := write(p[:allowed])
	if err != nil {
		return n, err
	}
	return n, fault
}

func (f *faultFile) syncOp() Op {
	if f.dir {
		return OpSyncDir
	}
	return OpSync
}

func (f *faultFile) Sync() error {
	if err := f.fs.check(f.syncOp(), f.path); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.fs.check(f.syncOp(), f.path); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *faultFile) SyncTo(length int64) (fullSync bool, err error) {
	if err := f.fs.check(f.syncOp(), f.path); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

func (f *faultFile) Preallocate(off, length int64) error {
	if err := f.fs.check(OpAllocate, f.path); err != nil {
		return err
	}
	return f.File.Preallocate(off, length)
}
