export PS1='root@debian:\w# ' PAGER=cat SYSTEMD_PAGER= SYSTEMD_COLORS=0 SYSTEMD_EMOJI=0
mesg n 2>/dev/null
