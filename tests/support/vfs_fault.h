#ifndef GDFO_TESTS_SUPPORT_VFS_FAULT_H
#define GDFO_TESTS_SUPPORT_VFS_FAULT_H

/*
 * A file system under SQLite that goes wrong on demand. Operations that change something (write,
 * truncate, sync, delete) are counted; at a chosen one the process dies by SIGKILL, in the middle
 * of a write, or from a chosen one on the disk is full. One per process; settings are read by every
 * thread.
 */
void gdfo_vfs_fault_install(void);      /* becomes SQLite's default file system; again: nothing */
long gdfo_vfs_fault_ops(void);          /* operations since the last reset */
void gdfo_vfs_fault_reset(void);        /* counts from 0 again, and nothing goes wrong */
void gdfo_vfs_fault_kill_at(long op);   /* 1 = the next one */
void gdfo_vfs_fault_full_from(long op); /* 1 = the next one; writes answer SQLITE_FULL */

#endif
