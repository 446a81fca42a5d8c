#ifndef GDFO_SERVER_STORE_STORE_FILE_H
#define GDFO_SERVER_STORE_STORE_FILE_H

#include "server/store/store_blob.h"

/*
 * Files of a project: rows over content that is there already (store_blob.h). The same content
 * twice is two files and one blob.
 */
#define GDFO_STORE_FILENAME_BYTES 256

struct gdfo_store_file {
    int64_t fid, pid, uid;
    char id[GDFO_STORE_ID_BYTES];
    char project[GDFO_STORE_NAME_BYTES]; /* name */
    char filename[GDFO_STORE_FILENAME_BYTES];
    char purpose[24]; /* fine-tune, fine-tune-results */
    char status[16];  /* uploaded, processed, error */
    struct gdfo_store_blob blob;
    int64_t n_lines; /* 0 until a job has read it */
    int64_t created_at, expires_at;
};

struct gdfo_store_file_new {
    struct gdfo_store_blob blob;
    const char *filename, *purpose;
    int64_t n_lines;
    int64_t result_of_jid; /* not 0: a result file of that job */
};

/* status becomes "uploaded"; a result file is "processed". */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_add(struct gdfo_store *s,
                                                   const struct gdfo_store_actor *who,
                                                   const struct gdfo_store_file_new *file,
                                                   struct gdfo_store_file *out,
                                                   struct gdfo_error *err);
/* NOT_FOUND when unknown, deleted or of another project. */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_get(struct gdfo_store *s, int64_t pid,
                                                   const char *id, struct gdfo_store_file *out,
                                                   struct gdfo_error *err);
/* By rowid, deleted or not: what a job reads. */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_of_fid(struct gdfo_store *s, int64_t fid,
                                                      struct gdfo_store_file *out,
                                                      struct gdfo_error *err);
/* The newest file of the project with this content; NOT_FOUND. */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_find(struct gdfo_store *s, int64_t pid,
                                                    const unsigned char sha256[GDFO_SHA256_BYTES],
                                                    struct gdfo_store_file *out,
                                                    struct gdfo_error *err);
struct gdfo_store_file_filter {
    int64_t pid;
    const char *purpose; /* NULL: all */
};
/* out holds page->limit rows. */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_list(struct gdfo_store *s,
                                                    const struct gdfo_store_file_filter *filter,
                                                    const struct gdfo_store_page *page,
                                                    struct gdfo_store_file *out, size_t *n,
                                                    int *has_more, struct gdfo_error *err);
/* What a job found in it: "processed" with the number of lines, or "error". */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_set_status(struct gdfo_store *s, int64_t fid,
                                                          const char *status, int64_t n_lines,
                                                          struct gdfo_error *err);
/* CONFLICT with code file_in_use while a live job needs it; NOT_FOUND. */
GDFO_MUST_USE enum gdfo_status gdfo_store_file_delete(struct gdfo_store *s,
                                                      const struct gdfo_store_actor *who,
                                                      const char *id, struct gdfo_error *err);

#endif
