a, b = map(int, input().split())
@@question1@@
