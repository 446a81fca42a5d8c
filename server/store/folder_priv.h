#ifndef GDFO_SERVER_STORE_FOLDER_PRIV_H
#define GDFO_SERVER_STORE_FOLDER_PRIV_H

#include "server/store/store_priv.h"

/* folder.c: paths, and who owns the data folder */
GDFO_MUST_USE enum gdfo_status gdfo_folder_open(struct gdfo_store *s, const char *dir,
                                                struct gdfo_error *err);
void gdfo_folder_close(struct gdfo_store *s);
GDFO_MUST_USE enum gdfo_status gdfo_folder_path(const struct gdfo_store *s, const char *name,
                                                char out[GDFO_STORE_PATH_BYTES],
                                                struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_folder_sync(const char *path, struct gdfo_error *err);

/* ballast.c */
void gdfo_ballast_drop(struct gdfo_store *s);
void gdfo_ballast_keep(struct gdfo_store *s); /* makes it when it is missing and there is room */

/* blob.c: content that no row needs, in one of the 256 folders */
void gdfo_blob_sweep(struct gdfo_store *s, int folder);

#endif
