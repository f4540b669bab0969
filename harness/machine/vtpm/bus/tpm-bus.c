/*
 * Stands between QEMU and swtpm. QEMU hands swtpm the TPM's data channel as a file descriptor over the control socket
 * (CMD_SET_DATAFD), which Node cannot receive: this program takes it, and carries what passes there to a socket of the
 * harness. All else on the control socket goes through as it is.
 *
 * tpm-bus CONTROL-SOCKET-TO-MAKE SWTPM-CONTROL-SOCKET HARNESS-DATA-SOCKET
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* swtpm's tpm_ioctl.h; numbers are big-endian, as is the result. */
#define CMD_SET_DATAFD 0x10
#define COMMAND_BYTES 4
#define CHUNK 4096

static int fail(const char *what)
{
	fprintf(stderr, "tpm-bus: %s: %s\n", what, strerror(errno));
	return 1;
}

static int unix_socket(const char *path, int listens)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (made < 0 || strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	if (listens) {
		unlink(path);
		if (bind(made, (struct sockaddr *)&address, sizeof(address)) || listen(made, 4))
			return -1;
	} else if (connect(made, (struct sockaddr *)&address, sizeof(address))) {
		return -1;
	}
	return made;
}

static int write_all(int to, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t written = send(to, bytes, length, MSG_NOSIGNAL);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return -1;
		bytes += written;
		length -= (size_t)written;
	}
	return 0;
}

/* Returns the number of bytes, 0 at the end; `*passed` is a descriptor that came with them, or -1. */
static ssize_t receive(int from, char *bytes, int *passed)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { .iov_base = bytes, .iov_len = CHUNK };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t length;

	*passed = -1;
	do
		length = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); length >= 0 && head; head = CMSG_NXTHDR(&message, head))
		if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
			memcpy(passed, CMSG_DATA(head), sizeof(int));
	return length;
}

static int relay(int from, int to)
{
	char bytes[CHUNK];
	ssize_t length = read(from, bytes, sizeof(bytes));

	return length > 0 ? write_all(to, bytes, (size_t)length) : -1;
}

static int is_set_datafd(const char *bytes, ssize_t length)
{
	return length == COMMAND_BYTES && !bytes[0] && !bytes[1] && !bytes[2] && bytes[3] == CMD_SET_DATAFD;
}

/* Serves one client until it or swtpm ends. Returns 1 where it had handed over its data channel, so is QEMU. */
static int serve(int client, int swtpm, const char *data_path)
{
	static const char success[COMMAND_BYTES] = { 0 };
	struct pollfd ends[4] = { { client, POLLIN, 0 }, { swtpm, POLLIN, 0 }, { -1, POLLIN, 0 }, { -1, POLLIN, 0 } };

	for (;;) {
		char bytes[CHUNK];
		int passed;

		if (poll(ends, 4, -1) < 0 && errno != EINTR)
			break;
		if (ends[0].revents) {
			ssize_t length = receive(client, bytes, &passed);
			if (length <= 0)
				break;
			if (passed >= 0 && is_set_datafd(bytes, length)) {
				ends[2].fd = passed;
				ends[3].fd = unix_socket(data_path, 0);
				if (ends[3].fd < 0)
					return fail("cannot reach the harness");
				if (write_all(client, success, sizeof(success)))
					break;
			} else if (write_all(swtpm, bytes, (size_t)length)) {
				break;
			}
		}
		if (ends[1].revents && relay(swtpm, client))
			break;
		if (ends[2].revents && relay(ends[2].fd, ends[3].fd))
			break;
		if (ends[3].revents && relay(ends[3].fd, ends[2].fd))
			break;
	}
	return ends[2].fd >= 0;
}

int main(int argc, char **argv)
{
	int listener;

	if (argc != 4)
		return 2;
	listener = unix_socket(argv[1], 1);
	if (listener < 0)
		return fail("cannot listen");
	for (;;) {
		int client = accept(listener, NULL, NULL);
		int swtpm = unix_socket(argv[2], 0);
		if (client < 0 || swtpm < 0)
			return fail("cannot reach swtpm");
		if (serve(client, swtpm, argv[3]))
			return 0;
		close(client);
		close(swtpm);
	}
}
