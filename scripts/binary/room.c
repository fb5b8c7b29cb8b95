/* Compiled into PyInstaller's bootloader: what it does not ask of the machine, and does not say.
 *
 * A temporary folder that is full, or that programs must not run in, is named in one sentence, before
 * anything is unpacked. Signals of the terminal, which come to all of a program's processes at once,
 * are not passed on to the child a second time: the node takes a second signal as "end at once".
 */
#define _GNU_SOURCE /* ST_NOEXEC */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "pyi_archive.h"
#include "pyi_global.h"
#include "pyi_main.h"

#define MEGABYTE 1000000ULL
#define LEFT_OVER (4 * MEGABYTE) /* for whatever else is written while the program runs */
#define INSTEAD "or take the archive, which unpacks nothing when it starts"

static void (*pass_on)(int signum);

static unsigned long long
unpacked_bytes(const struct ARCHIVE *archive, unsigned long block_bytes)
{
    const struct TOC_ENTRY *entry = archive->toc;
    unsigned long long sum = LEFT_OVER;

    for (; entry < archive->toc_end; entry = pyi_archive_next_toc_entry(archive, entry)) {
        if (strchr("bxZz", entry->typecode) != NULL) {
            sum += (entry->uncompressed_length / block_bytes + 1) * block_bytes;
        }
    }
    return sum;
}

/* Whether the program can be unpacked and run where it is going to be; if not, says why. */
int
dispatchd_has_room(const struct PYI_CONTEXT *context)
{
    const char *folder = context->application_home_dir;
    const int parent = (int)(strrchr(folder, PYI_SEP) - folder);
    unsigned long long needed, there;
    struct statvfs place;

    if (statvfs(folder, &place) != 0 || place.f_frsize == 0) {
        return 1; /* unpacking will show it */
    }
    if (place.f_flag & ST_NOEXEC) {
        fprintf(stderr, "dispatchd: programs must not run in %.*s, which is mounted noexec: set TMPDIR to"
            " a folder where they may, " INSTEAD ".\n", parent, folder);
        return 0;
    }
    needed = unpacked_bytes(context->archive, place.f_frsize);
    there = (unsigned long long)place.f_bavail * place.f_frsize;
    if (place.f_blocks != 0 && there < needed) {
        fprintf(stderr, "dispatchd: %.*s has %llu MB left and unpacking takes %llu MB: set TMPDIR to a"
            " folder with more, " INSTEAD ".\n",
            parent, folder, there / MEGABYTE, needed / MEGABYTE + 1);
        return 0;
    }
    return 1;
}

/* Says that there is no folder to unpack to. */
void
dispatchd_has_no_folder(void)
{
    fprintf(stderr, "dispatchd: there is no temporary folder that it may write to: set TMPDIR to one, "
        INSTEAD ".\n");
}

static void
unless_the_child_has_it(int signum, siginfo_t *info, void *unused)
{
    (void)unused;
    if (info->si_code != SI_KERNEL) { /* so the terminal sends them, to the whole group */
        pass_on(signum);
    }
}

/* Sets the handler for a signal as signal() would, but for those that come from the terminal. */
void
dispatchd_pass_on(int signum, void (*handler)(int signum))
{
    struct sigaction action;

    pass_on = handler;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = unless_the_child_has_it;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(signum, &action, NULL);
}
