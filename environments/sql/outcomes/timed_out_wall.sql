SELECT 'sleeping';
.shell sleep 3600
