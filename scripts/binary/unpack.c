/* Compiled into PyInstaller's bootloader: unpacks on all cores what it would unpack file by file.
 *
 * Meanwhile the folder is marked as in use, as dispatchd/onefile.py marks it later, so that the folder
 * of a program that was killed as it unpacked can be told from others and is removed by the next start.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "pyi_archive.h"
#include "pyi_global.h"
#include "pyi_main.h"

#define LOCK "dispatchd.lock" /* as in dispatchd/onefile.py */
#define THREADS_MAX 16
#define BUFFER_BYTES (256 * 1024)

struct WANTED
{
    const struct ARCHIVE *archive;
    const struct TOC_ENTRY *entry;
    char *filename;
};

static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;
static struct WANTED *wanted; /* those from `taken` on are still to be unpacked */
static size_t count, room, taken;
static int failed;

/* Marks the folder as in use for as long as this process lives, or until its child does so. */
void
dispatchd_occupy(const struct PYI_CONTEXT *context)
{
    char path[PYI_PATH_MAX];
    int file;

    if (snprintf(path, PYI_PATH_MAX, "%s%c" LOCK, context->application_home_dir, PYI_SEP) >= PYI_PATH_MAX) {
        return; /* unpacking will show it */
    }
    file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600); /* never closed */
    if (file >= 0) {
        flock(file, LOCK_EX | LOCK_NB);
    }
}

/* Stands for pyi_archive_extract2fs(): the file is unpacked by dispatchd_extract_all(). */
int
dispatchd_extract(const struct ARCHIVE *archive, const struct TOC_ENTRY *entry, const char *filename)
{
    if (count == room) {
        struct WANTED *more = realloc(wanted, (room += 256) * sizeof(*wanted));

        if (more == NULL) {
            return -1;
        }
        wanted = more;
    }
    wanted[count].archive = archive;
    wanted[count].entry = entry;
    wanted[count].filename = strdup(filename);
    return wanted[count++].filename == NULL ? -1 : 0;
}

/* What is written to the file goes out in large pieces; a thread has one such file at a time. */
void
dispatchd_buffer(FILE *file)
{
    static _Thread_local char buffer[BUFFER_BYTES];

    setvbuf(file, buffer, _IOFBF, sizeof(buffer));
}

static const struct WANTED *
next(void)
{
    const struct WANTED *one = NULL;

    pthread_mutex_lock(&taking);
    if (!failed && taken < count) {
        one = &wanted[taken++];
    }
    pthread_mutex_unlock(&taking);
    return one;
}

static void *
work(void *unused)
{
    const struct WANTED *one;

    while ((one = next()) != NULL) {
        if (pyi_archive_extract2fs(one->archive, one->entry, one->filename) != 0) {
            PYI_ERROR("Failed to extract entry: %s.\n", one->entry->name);
            pthread_mutex_lock(&taking);
            failed = 1;
            pthread_mutex_unlock(&taking);
        }
    }
    return unused;
}

static int
larger_first(const void *one, const void *other)
{
    const unsigned long long first = ((const struct WANTED *)one)->entry->uncompressed_length;
    const unsigned long long second = ((const struct WANTED *)other)->entry->uncompressed_length;

    return (first < second) - (first > second);
}

/* Unpacks all that is wanted; 0, or -1 if something could not be. */
int
dispatchd_extract_all(void)
{
    pthread_t threads[THREADS_MAX];
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int begun = 0;

    qsort(wanted, count, sizeof(*wanted), larger_first); /* so that no thread is left with a large one */
    while (begun < THREADS_MAX && begun < cores - 1) {
        if (pthread_create(&threads[begun], NULL, work, NULL) != 0) {
            break; /* those that there are will do */
        }
        begun++;
    }
    work(NULL);
    while (begun > 0) {
        pthread_join(threads[--begun], NULL);
    }
    while (count > 0) {
        free(wanted[--count].filename);
    }
    free(wanted);
    return failed ? -1 : 0;
}
