#include "tests/support/vfs_fault.h"

#include <sqlite3.h>

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static atomic_long n_ops;
static atomic_long kill_at;
static atomic_long full_from;

struct file { /* the real file's storage follows */
    sqlite3_file base;
    sqlite3_file *real;
};

static struct file *of(sqlite3_file *f)
{
    return (struct file *)(void *)f;
}

static sqlite3_vfs *real_vfs(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

/* Counts one operation; 1 when this is the one to die in. */
static int dies_here(void)
{
    long op = atomic_fetch_add(&n_ops, 1) + 1;
    return op == atomic_load(&kill_at);
}

static int is_full(void)
{
    long from = atomic_load(&full_from);
    return from > 0 && atomic_load(&n_ops) >= from;
}

static void die(void)
{
    (void)raise(SIGKILL);
}

static int x_close(sqlite3_file *f)
{
    return of(f)->real->pMethods ? of(f)->real->pMethods->xClose(of(f)->real) : SQLITE_OK;
}

static int x_read(sqlite3_file *f, void *out, int n, sqlite3_int64 at)
{
    return of(f)->real->pMethods->xRead(of(f)->real, out, n, at);
}

static int x_write(sqlite3_file *f, const void *bytes, int n, sqlite3_int64 at)
{
    if (dies_here()) {
        (void)of(f)->real->pMethods->xWrite(of(f)->real, bytes, n / 2, at);
        die();
    }
    return is_full() ? SQLITE_FULL : of(f)->real->pMethods->xWrite(of(f)->real, bytes, n, at);
}

static int x_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    if (dies_here()) {
        die();
    }
    return of(f)->real->pMethods->xTruncate(of(f)->real, n);
}

static int x_sync(sqlite3_file *f, int flags)
{
    if (dies_here()) {
        die();
    }
    return of(f)->real->pMethods->xSync(of(f)->real, flags);
}

static int x_file_size(sqlite3_file *f, sqlite3_int64 *out)
{
    return of(f)->real->pMethods->xFileSize(of(f)->real, out);
}

static int x_lock(sqlite3_file *f, int level)
{
    return of(f)->real->pMethods->xLock(of(f)->real, level);
}

static int x_unlock(sqlite3_file *f, int level)
{
    return of(f)->real->pMethods->xUnlock(of(f)->real, level);
}

static int x_check_reserved(sqlite3_file *f, int *out)
{
    return of(f)->real->pMethods->xCheckReservedLock(of(f)->real, out);
}

static int x_control(sqlite3_file *f, int op, void *arg)
{
    return of(f)->real->pMethods->xFileControl(of(f)->real, op, arg);
}

static int x_sector_size(sqlite3_file *f)
{
    return of(f)->real->pMethods->xSectorSize(of(f)->real);
}

static int x_characteristics(sqlite3_file *f)
{
    return of(f)->real->pMethods->xDeviceCharacteristics(of(f)->real);
}

static int x_shm_map(sqlite3_file *f, int page, int n, int extend, void volatile **out)
{
    return of(f)->real->pMethods->xShmMap(of(f)->real, page, n, extend, out);
}

static int x_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return of(f)->real->pMethods->xShmLock(of(f)->real, offset, n, flags);
}

static void x_shm_barrier(sqlite3_file *f)
{
    of(f)->real->pMethods->xShmBarrier(of(f)->real);
}

static int x_shm_unmap(sqlite3_file *f, int delete_it)
{
    return of(f)->real->pMethods->xShmUnmap(of(f)->real, delete_it);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = x_close,
    .xRead = x_read,
    .xWrite = x_write,
    .xTruncate = x_truncate,
    .xSync = x_sync,
    .xFileSize = x_file_size,
    .xLock = x_lock,
    .xUnlock = x_unlock,
    .xCheckReservedLock = x_check_reserved,
    .xFileControl = x_control,
    .xSectorSize = x_sector_size,
    .xDeviceCharacteristics = x_characteristics,
    .xShmMap = x_shm_map,
    .xShmLock = x_shm_lock,
    .xShmBarrier = x_shm_barrier,
    .xShmUnmap = x_shm_unmap,
};

static int x_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    int rc;
    of(f)->real = (sqlite3_file *)(void *)(of(f) + 1);
    memset(of(f)->real, 0, (size_t)real_vfs(vfs)->szOsFile);
    rc = real_vfs(vfs)->xOpen(real_vfs(vfs), name, of(f)->real, flags, out);
    f->pMethods = of(f)->real->pMethods ? &methods : NULL;
    return rc;
}

static int x_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    if (dies_here()) {
        die();
    }
    return real_vfs(vfs)->xDelete(real_vfs(vfs), name, sync_folder);
}

void gdfo_vfs_fault_install(void)
{
    static sqlite3_vfs vfs;
    sqlite3_vfs *real;
    if (vfs.zName) {
        return;
    }
    real = sqlite3_vfs_find(NULL);
    vfs = *real; /* what is not wrapped works on the names alone and is the real one's */
    vfs.zName = "gdfo-fault";
    vfs.pNext = NULL;
    vfs.pAppData = real;
    vfs.szOsFile = (int)sizeof(struct file) + real->szOsFile;
    vfs.xOpen = x_open;
    vfs.xDelete = x_delete;
    (void)sqlite3_vfs_register(&vfs, 1);
}

long gdfo_vfs_fault_ops(void)
{
    return atomic_load(&n_ops);
}

void gdfo_vfs_fault_reset(void)
{
    atomic_store(&n_ops, 0);
    atomic_store(&kill_at, 0);
    atomic_store(&full_from, 0);
}

void gdfo_vfs_fault_kill_at(long op)
{
    atomic_store(&kill_at, op);
}

void gdfo_vfs_fault_full_from(long op)
{
    atomic_store(&full_from, op);
}
