// @Override, and mail@example.org
@    @q1@;@
name: @@q2:filename@@
@> @q2:value@@
who: @@@username@@
@@none@@
