/* What the parts of file operations share: folders that are never left, entries of archives, and
 * words about what went wrong. */
#ifndef FILES_H
#define FILES_H

#include "agent.h"

#include <limits.h>
#include <sys/stat.h>

enum { COPY_SIZE = 1 << 17, DEPTH_MOST = 400 };

struct entry { char type; bool content; uint32_t mode, user, group; uint64_t size; int64_t modified;
               uint16_t name_length, link_length; };

extern uint8_t copied[COPY_SIZE]; /* of a file, piece by piece */
extern int complaints;            /* how many there were */

/* Say what is wrong with a path. Returns false, so that a caller can pass the failure on in one
 * line. */
bool complain(const char *path, int error);

/* These say nothing, but set errno; only open_root complains. */
int open_root(const char *path);
int open_beneath(int root, const char *path, int flags, mode_t mode);
/* The folder that holds `path`, making what is missing of it; `name` points to the last name. */
int open_parent(int root, const char *path, const char **name, bool make);
void without_trailing_slashes(char *path);

bool write_all(const void *bytes, size_t length);
bool read_all(void *to, size_t length);
bool write_entry(const struct entry *entry, const char *name, const char *link);
bool write_end(void);
bool read_entry(struct entry *entry, char name[PATH_MAX]);
struct entry describe(const struct stat *facts);

/* The operations; the first argument is the name, the second the folder that is never left. */
bool files_list(char **arguments, int count);
bool files_get(char **arguments, int count);
bool files_put(char **arguments, int count);
bool files_delete(char **arguments, int count);

#endif
