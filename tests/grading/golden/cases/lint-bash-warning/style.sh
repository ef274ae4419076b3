#!/bin/bash
for f in $(ls); do cat "$f"; done
unused=3
