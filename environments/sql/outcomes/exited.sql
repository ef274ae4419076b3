SELECT 'leaving as I am told';
